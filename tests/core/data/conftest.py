"""Model folders of every template family with small tokenizers of the kind that the family has.

The templates and the flags of their special tokens are the models' own (tests/templates); the vocabularies are
trained here in a moment, since the models' own can't be assumed to be at hand.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from core.data.rendering import Renderer

TEMPLATES = Path(__file__).parents[2] / "templates"
FAMILIES: dict[str, dict[str, Any]] = {
    item["name"]: item for item in yaml.safe_load((TEMPLATES / "families.yaml").read_text())
}
LLAMA_PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CORPUS = [
    "system user assistant model human\n\n\n You are a helpful assistant.  Answer in one sentence, please!\n",
    "The assistant says hello to the user.\nHello, how are you? Fine, thanks.  Twelve and 345 make 357.\n",
    "def add(a, b):\n    return a + b\n\n\nnaïve café, 日本語の文, emoji 😀 and tabs\there.\n",
] * 3


@cache
def byte_level(pattern: str | None) -> Tokenizer:
    """A byte-level BPE: GPT-2's way of parting text (SmolLM2), or a pattern (Llama-3, Qwen, Phi-4)."""
    tokenizer = Tokenizer(models.BPE())
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None)
    parts = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*parts, whole])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


@cache
def sentencepiece_like(prefix_space: bool) -> Tokenizer:
    """A BPE over "▁" with byte fallback: with a prefix space (Llama-2, Phi-3, Mistral) or without (Gemma)."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    spaces = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.normalizer = (
        normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if prefix_space else spaces
    )
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if prefix_space else steps)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", *bytes_], show_progress=False)
    words = [word for line in CORPUS for word in line.replace(" ", "\n ").replace(" ", "▁").split("\n")]
    tokenizer.train_from_iterator(words, trainer)
    description = json.loads(tokenizer.to_str())
    description["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(description))


def tokenizer_of(family: dict[str, Any]) -> Tokenizer:
    """A fresh tokenizer of the family's kind with its special tokens."""
    name = family["name"]
    if name.startswith(("phi-3", "mistral")):
        kind = sentencepiece_like(True)
    elif name == "gemma":
        kind = sentencepiece_like(False)
    else:
        kind = byte_level(None if name == "smollm2" else LLAMA_PATTERN)
    tokenizer = Tokenizer.from_str(kind.to_str())
    tokens = [
        AddedToken(
            text,
            special=True,
            normalized=False,
            rstrip=text in family["rstrip_tokens"],
            lstrip=text in family["lstrip_tokens"],
        )
        for text in family["special_tokens"]
    ]
    tokenizer.add_special_tokens(tokens)
    return tokenizer


def write_model(folder: Path, family: dict[str, Any], template: str | None) -> Path:
    """The files that rendering reads, laid out as `save_pretrained` does."""
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(tokenizer_of(family).to_str())
    names = ("bos_token", "eos_token", "pad_token")
    config = {name: family[name] for name in names if family[name]}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config}
        )
    )
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(scope="session", params=FAMILIES.values(), ids=lambda family: str(family["name"]))
def family(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each template family in turn."""
    return dict(request.param)


@pytest.fixture(scope="session")
def model_folder(family: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family's model folder."""
    template = (TEMPLATES / family["file"]).read_text()
    return write_model(tmp_path_factory.mktemp(family["name"]) / "model", family, template)


@pytest.fixture(scope="session")
def renderer(model_folder: Path) -> Renderer:
    """The renderer under test."""
    return Renderer.from_folder(model_folder)


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of a named family, with its own template or another (None: no template file)."""

    def make(name: str, template: str | None = "", folder: str = "model") -> Path:
        own = (TEMPLATES / FAMILIES[name]["file"]).read_text()
        return write_model(tmp_path / folder, FAMILIES[name], own if template == "" else template)

    return make
