"""Exported folders load without finetui and say the very same as the run's model in finetui."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from core.data.conversation import Message
from core.data.rendering import Renderer
from core.pipes import PipeClient
from core.runs.directory import RunDirectory
from core.serving.local_models import LocalSide
from core.training import export_merge
from core.training.export_source import ExportError
from core.training.export_template import TemplateError
from tests.core.training import exported, tiny
from tests.core.training.exported import SYSTEM, export_now, make_run, save_adapter
from tests.core.training.go_template import GoTemplate, read_modelfile

ASKED = (
    [{"role": "user", "content": "the lamp glows"}],
    [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "ask again"}],
    [
        {"role": "user", "content": "one fill"},
        {"role": "assistant", "content": "forty hours"},
        {"role": "user", "content": "on é"},
    ],
)
TOKENS = 24


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def run(tiny_model: Path, adapter: Path) -> RunDirectory:
    return make_run(tiny_model, adapter)


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=torch.tensor([ids])).logits
        return found.float()


def prompt_ids(folder: Path) -> list[list[int]]:
    renderer = Renderer.from_folder(folder)
    return [
        renderer.render_prompt([Message(item["role"], item["content"]) for item in messages])[1]
        for messages in ASKED
    ]


def same(one: Any, two: Any, folder: Path) -> float:
    """Largest difference of two models' logits on the prompts."""
    return max(float((logits(one, ids) - logits(two, ids)).abs().max()) for ids in prompt_ids(folder))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_adapter_loads_in_plain_peft_with_the_same_logits(
    run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = export_now(run, "adapter", out)
    assert files(out) == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "generation_config.json",
        *exported.TOKENIZER,
    }
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), out)
    ours = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), run.model_dir)
    assert same(plain, ours, out) == 0
    assert same(plain, AutoModelForCausalLM.from_pretrained(tiny_model), out) > 0.1
    assert told.bytes == sum(path.stat().st_size for path in out.iterdir())
    assert told.fidelity is None


async def test_merged_weights_are_the_adapter_s_and_give_the_replies_of_finetui_s_chat(
    run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = export_now(run, "merged", out)
    assert {"config.json", "model.safetensors", "generation_config.json"} <= files(out)
    assert "adapter_config.json" not in files(out) and "finetui.json" not in files(out)
    plain = AutoModelForCausalLM.from_pretrained(out)
    ours = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), run.model_dir)
    assert same(plain, ours, out) < 1e-4
    assert told.fidelity["max_difference"] < 1e-4
    assert (told.fidelity["same"], told.fidelity["dtype"]) == (1.0, "float32")
    ends = json.loads((run.model_dir / "generation_config.json").read_text())["eos_token_id"]
    assert plain.config.eos_token_id == plain.generation_config.eos_token_id == ends
    assert str(tiny_model) not in (out / "config.json").read_text()

    tokenizer = AutoTokenizer.from_pretrained(out)
    client = PipeClient("core.serving.chat_worker", tmp_path / "chat.log")
    side = LocalSide(tiny_model, run.model_dir, run.model_dir)
    await client.call("load", sides={"tuned": side.request()})
    for messages in ASKED:
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        made = plain.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        text = tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        reply = await client.call("reply", messages=messages, side="tuned", max_tokens=TOKENS)
        assert text == reply["text"]
    await client.close()


def test_merged_weights_have_the_base_s_own_precision(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    run = make_run(base, save_adapter(base, tmp_path / "adapter"), quantization=None)
    told = export_now(run, "merged", tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert {item.dtype for item in merged.parameters()} == {torch.bfloat16}
    assert told.fidelity["dtype"] == "bfloat16"
    assert 0 < told.fidelity["max_difference"] < 0.1


def test_an_adapter_on_a_tied_head_is_merged_into_a_head_of_its_own(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base", tie_word_embeddings=True)
    adapter = save_adapter(base, tmp_path / "adapter", target_modules=["lm_head", "o_proj"])
    told = export_now(make_run(base, adapter), "merged", tmp_path / "out")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    ours = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    assert same(merged, ours, base) < 1e-4
    assert told.fidelity["max_difference"] < 1e-4
    assert merged.config.tie_word_embeddings is False


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"use_rslora": True}, {"modules_to_save": ["lm_head"]}], ids=str
)
def test_every_kind_of_lora_is_merged(tiny_model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    adapter = save_adapter(tiny_model, tmp_path / "adapter", **settings)
    told = export_now(make_run(tiny_model, adapter), "merged", tmp_path / "out")
    assert told.fidelity["max_difference"] < 1e-4


def test_ia3_is_merged(tiny_model: Path, tmp_path: Path) -> None:
    from peft import IA3Config, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    names = {"target_modules": ["qkv_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    tuned = get_peft_model(base, IA3Config(**names, task_type="CAUSAL_LM"))
    torch.manual_seed(4)
    for name, weight in tuned.named_parameters():
        if "ia3" in name:
            torch.nn.init.uniform_(weight, 0.5, 2.0)
    tuned.save_pretrained(tmp_path / "adapter")
    exported.add_facts(tiny_model, tmp_path / "adapter")
    told = export_now(make_run(tiny_model, tmp_path / "adapter"), "merged", tmp_path / "out")
    assert told.fidelity["max_difference"] < 1e-4
    assert same(AutoModelForCausalLM.from_pretrained(tmp_path / "out"), tuned, tiny_model) < 1e-4


def test_a_merge_that_changes_the_model_is_not_published(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = export_merge._logits
    monkeypatch.setattr(
        export_merge,
        "_logits",
        lambda model, rows: [
            item * (1 if hasattr(model, "peft_config") else -1) for item in real(model, rows)
        ],
    )
    with pytest.raises(ExportError, match="not the one that was trained"):
        export_now(run, "merged", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_the_ollama_folder_writes_prompts_as_training_did(
    run: RunDirectory, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = export_now(run, "ollama", out)
    commands = read_modelfile((out / "Modelfile").read_text())
    assert commands[0] == ("FROM", ".")
    assert ("SYSTEM", SYSTEM) in commands
    assert [value for name, value in commands if name == "stop"] == [
        "<|end|>",
        "<|system|>",
        "<|user|>",
        "<|assistant|>",
    ]
    assert ("num_ctx", "256") in commands  # all this model has
    template = GoTemplate(dict(commands)["TEMPLATE"])
    renderer = Renderer.from_folder(run.model_dir)
    for messages in ASKED:
        talk = [Message(item["role"], item["content"]) for item in messages]
        assert template.run(talk) == renderer.render_prompt(talk)[0]
    assert json.loads((out / "tokenizer_config.json").read_text())["add_bos_token"] is False
    assert told.notes == ()
    merged = AutoModelForCausalLM.from_pretrained(out)
    ours = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), run.model_dir)
    assert same(merged, ours, run.model_dir) < 1e-4


def test_the_template_of_the_recipe_is_the_one_exported(
    tiny_model: Path, adapter: Path, tmp_path: Path
) -> None:
    run = make_run(tiny_model, adapter)
    other = tiny.PHI3_TEMPLATE.replace("'\n' + message", "' ' + message")
    (run.data_dir / "rendering.json").write_text(json.dumps({"template": other, "now": "2025-01-01"}))
    for to in ("adapter", "merged", "ollama"):
        export_now(run, to, tmp_path / to)
        assert (tmp_path / to / "chat_template.jinja").read_text() == other
    commands = dict(read_modelfile((tmp_path / "ollama" / "Modelfile").read_text()))
    talk = [Message("user", "why")]
    wanted = Renderer.from_folder(tmp_path / "ollama").render_prompt(talk)[0]
    assert GoTemplate(commands["TEMPLATE"]).run(talk) == wanted


DATED = "{{ strftime_now('%Y') }}" + tiny.PHI3_TEMPLATE
ENDLESS = 'never """ends"""'


def test_a_template_that_prints_the_date_is_refused_for_ollama(run: RunDirectory, tmp_path: Path) -> None:
    (run.data_dir / "rendering.json").write_text(json.dumps({"template": DATED, "now": "2025-01-01"}))
    with pytest.raises(TemplateError, match="date"):
        export_now(run, "ollama", tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    export_now(run, "merged", tmp_path / "out")


@pytest.mark.parametrize(("system", "named"), [(ENDLESS, "three quotes"), ("no\u00a0break", "U+00A0")])
def test_a_system_message_that_a_modelfile_can_t_hold_is_refused(
    run: RunDirectory, tmp_path: Path, system: str, named: str
) -> None:
    facts = run.model_dir / "finetui.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "system": system}))
    with pytest.raises(ExportError) as refused:
        export_now(run, "ollama", tmp_path / "out")
    assert named in refused.value.cause


def test_a_tokenizer_that_ollama_reads_otherwise_is_refused(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    run = make_run(base, save_adapter(base, tmp_path / "adapter"))
    path = run.model_dir / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"] = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": "never",
        "split": False,
    }
    content["decoder"] = {"type": "Fuse"}
    path.write_text(json.dumps(content))
    with pytest.raises(ExportError) as refused:
        export_now(run, "ollama", tmp_path / "out")
    assert "tokenizer.model" in refused.value.cause
    (base / "tokenizer.model").write_bytes(b"sentencepiece")
    export_now(run, "ollama", tmp_path / "out")
    assert "tokenizer.model" in files(tmp_path / "out")


def test_a_model_that_continues_texts_has_no_turns(tiny_model: Path, adapter: Path, tmp_path: Path) -> None:
    run = make_run(tiny_model, adapter)
    facts = run.model_dir / "finetui.json"
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "system": "", "task": "completion"}))
    export_now(run, "ollama", tmp_path / "out")
    commands = read_modelfile((tmp_path / "out" / "Modelfile").read_text())
    assert commands == [("FROM", "."), ("TEMPLATE", "{{ .Prompt }}"), ("num_ctx", "256")]


def test_weights_trained_whole_are_copied(tiny_model: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(whole)
    exported.add_facts(tiny_model, whole)
    run = make_run(tiny_model, whole, checkpoint=whole)
    told = export_now(run, "merged", tmp_path / "merged", run.checkpoints_dir / "step-5")
    assert told.fidelity is None
    assert "optimizer.pt" not in files(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert same(merged, AutoModelForCausalLM.from_pretrained(tiny_model), tiny_model) == 0
    export_now(run, "ollama", tmp_path / "ollama")
    with pytest.raises(ExportError, match="no adapter") as refused:
        export_now(run, "adapter", tmp_path / "adapter")
    assert "--to merged" in refused.value.next_step


def test_a_classifier_is_exported_with_its_head_and_classes(tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    labels = ["spam", "ham", "other"]
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3)
    base.config.pad_token_id = 0
    torch.manual_seed(3)
    torch.nn.init.normal_(base.score.weight)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="SEQ_CLS"))
    tuned.save_pretrained(tmp_path / "adapter")
    exported.add_facts(tiny_model, tmp_path / "adapter", task="classification", labels=labels)
    (tmp_path / "adapter" / "generation_config.json").unlink()
    run = make_run(tiny_model, tmp_path / "adapter")
    told = export_now(run, "merged", tmp_path / "merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert same(merged, tuned, tiny_model) < 1e-4
    assert merged.config.id2label == {0: "spam", 1: "ham", 2: "other"}
    assert merged.config.pad_token_id == 0
    assert told.fidelity["positions"] == 3  # one text, one class
    export_now(run, "adapter", tmp_path / "peft")
    bare = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3)
    assert same(PeftModel.from_pretrained(bare, tmp_path / "peft"), tuned, tiny_model) < 1e-6
    assert "num_labels=3" in (tmp_path / "peft" / "README.md").read_text()
    with pytest.raises(ExportError, match="classifier"):
        export_now(run, "ollama", tmp_path / "ollama")


def test_licence_files_of_the_base_go_with_its_weights(tmp_path: Path) -> None:
    base = tiny.make_model(tmp_path / "base")
    (base / "LICENSE").write_text("yours to use")
    run = make_run(base, save_adapter(base, tmp_path / "adapter"))
    export_now(run, "merged", tmp_path / "merged")
    export_now(run, "adapter", tmp_path / "peft")
    assert (tmp_path / "merged" / "LICENSE").read_text() == "yours to use"
    assert "LICENSE" not in files(tmp_path / "peft")
