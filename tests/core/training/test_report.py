"""Base beside tuned on real tiny runs: what was memorised scores 1, and the figures are those of other ways to them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from core.backends.local import LocalBackend
from core.pipes import PipeClient, PipeError
from core.recipe import Recipe, dump
from core.training import figures, held_out, replies
from core.training.held_out import HeldOutError
from core.training.report import Progress, Wanted, evaluate_run
from core.training.report_file import ReportError, put_evaluation, read
from tests.core.training import reference, tiny
from tests.core.training.conftest import FolderRun

MakeRecipe = Callable[..., Recipe]
CLASSES = ("one", "forty")
COLOURS = ("salt", "water", "lamp")


def closed_rows(path: Path, rows: int) -> Path:
    """Questions whose answer is their number's class."""
    lines = []
    for number in range(rows):
        asked = f"ask {tiny.WORDS[number % 2]} {tiny.WORDS[2 + number % 7]}"
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": CLASSES[number % 2]}]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n")
    return path


def labelled_rows(path: Path, rows: int) -> Path:
    lines = [
        json.dumps({"text": f"it runs {number} {COLOURS[number % 3]}", "label": COLOURS[number % 3]})
        for number in range(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def pair_rows(path: Path, rows: int) -> Path:
    lines = [
        json.dumps(
            {
                "prompt": [{"role": "user", "content": f"ask again {number}"}],
                "chosen": [{"role": "assistant", "content": "salt water please"}],
                "rejected": [{"role": "assistant", "content": "forty hours on one fill"}],
            }
        )
        for number in range(rows)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def trained(recipe: Recipe, run: FolderRun) -> Path:
    """A run directory as the engine leaves it, with the recipe that the store would freeze in it."""
    assert LocalBackend().train(recipe, run).kind == "finished"
    (run.directory / "recipe.yaml").write_text(dump(recipe))
    return run.directory


def evaluated(run: Path, **changes: Any) -> tuple[dict[str, Any], list[Progress]]:
    """The evaluation and its progress, in this process."""
    given = {"folder": run / "model", "file": None, "rows": 100, "max_tokens": 8, **changes}
    work, told = evaluate_run(Wanted(run, **given)), []
    while True:
        try:
            told.append(next(work))
        except StopIteration as end:
            return end.value, told


@pytest.fixture(scope="module")
def closed_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that has memorised a closed set of answers."""
    from core import recipe as recipes

    folder = tmp_path_factory.mktemp("closed")
    rows = closed_rows(folder / "train.jsonl", 28)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FINETUI_HOME", str(folder / "home"))
        recipe = recipes.build(
            {
                "model": str(tiny_model),
                "data": str(rows),
                "validation": str(closed_rows(folder / "held.jsonl", 14)),
                "modules_to_save": ["lm_head"],
                "max_steps": 60,
                "learning_rate": 2e-2,
                "batch_size": 14,
                "accumulation": 1,
                "sample_prompts": [],
            }
        )
        yield trained(recipe, FolderRun(folder / "run"))


@pytest.fixture
def in_its_home(closed_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run, with the home it was made in."""
    monkeypatch.setenv("FINETUI_HOME", str(closed_run.parent / "home"))
    return closed_run


def test_a_memorised_closed_set_is_right_each_time_and_the_base_is_not(in_its_home: Path) -> None:
    before = json.loads((in_its_home / "report.json").read_text())
    found, told = evaluated(in_its_home)
    assert found["tuned"]["accuracy"] == found["tuned"]["macro_f1"] == found["tuned"]["exact_match"] == 1.0
    assert found["base"]["accuracy"] < 0.5
    assert found["tuned"]["loss"] < 0.5
    assert found["base"]["loss"] > 5
    assert found["confusion"]["labels"] == ["forty", "one"]
    assert found["confusion"]["tuned"] == [[0, 0, 7], [1, 1, 7]]
    assert sum(times for _, _, times in found["confusion"]["base"]) == found["asked"] == found["rows"] == 14
    assert found["worst"] == []
    assert [told[-1].done, told[-1].total] == [6, 6]
    assert {item.phase for item in told} >= {
        "measuring the loss",
        "asking base and tuned",
        "sampling replies",
    }

    written = json.loads((in_its_home / "report.json").read_text())
    assert written.pop("evaluation") == found
    before.pop("evaluation", None)
    assert written == before and "steps" in written
    (file,) = found["data"]["files"]
    assert file["title"] == "held.jsonl" and len(file["sha256"]) == 64
    assert (found["data"]["kind"], found["model"], found["checkpoint"]) == ("validation", "model", None)
    assert found["step"] == written["step"] == 60


def loss_and_hits(model: Any, data: Path, base: Path) -> tuple[float, float]:
    """Row by row, by the model's own forward pass."""
    total = hits = tokens = 0.0
    with torch.no_grad():
        for ids, learned in reference.rows_of(data, base):
            logits, wanted = model(ids[None], use_cache=False).logits[0, :-1], learned[1:]
            losses = torch.nn.functional.cross_entropy(logits[wanted], ids[1:][wanted], reduction="sum")
            total += losses.item()
            hits += (logits.argmax(1) == ids[1:])[wanted].sum().item()
            tokens += wanted.sum().item()
    return total / tokens, hits / tokens


def test_the_losses_are_those_of_plain_transformers(in_its_home: Path, tiny_model: Path) -> None:
    found, _ = evaluated(in_its_home)
    base, below = (AutoModelForCausalLM.from_pretrained(tiny_model) for _ in range(2))
    tuned = PeftModel.from_pretrained(below, in_its_home / "model").eval()
    for side, model in (("base", base), ("tuned", tuned)):
        loss, hits = loss_and_hits(model, in_its_home.parent / "held.jsonl", tiny_model)
        assert found[side]["loss"] == pytest.approx(loss, rel=1e-4)
        assert found[side]["token_accuracy"] == pytest.approx(hits)
        assert found[side]["perplexity"] == pytest.approx(math.exp(loss), rel=1e-3)


def test_the_same_seed_gives_the_same_samples_and_greedy_replies_don_t_hang_on_the_batch(
    in_its_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = evaluated(in_its_home)
    torch.manual_seed(99)
    monkeypatch.setattr(replies, "WINDOW_ROWS", 3)
    monkeypatch.setattr(figures, "CHUNK_ROWS", 4)
    second, _ = evaluated(in_its_home)
    assert second["samples"] == first["samples"]
    assert len({sample["prompt"] for sample in first["samples"]}) == 6
    assert second["confusion"] == first["confusion"]
    for side in ("base", "tuned"):
        assert second[side] == pytest.approx(first[side], rel=1e-5)


def test_rows_are_read_in_pieces_and_never_all_at_once(
    in_its_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = most = read_rows = 0

    class Counted:
        """Lives as long as its row is kept."""

        def __init__(self) -> None:
            nonlocal alive, most, read_rows
            alive, read_rows = alive + 1, read_rows + 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    own, replaced = held_out.read_rows, held_out.replace

    def counting(*arguments: Any) -> Any:
        for item in own(*arguments):
            object.__setattr__(item, "counted", Counted())  # the task's own copy below keeps it
            yield item

    def keeping(item: Any, **changes: Any) -> Any:
        made = replaced(item, **changes)
        object.__setattr__(made, "counted", item.counted)
        return made

    monkeypatch.setattr(held_out, "read_rows", counting)
    monkeypatch.setattr(held_out, "replace", keeping)
    monkeypatch.setattr(figures, "CHUNK_ROWS", 4)
    monkeypatch.setattr(replies, "WINDOW_ROWS", 4)
    many = closed_rows(in_its_home.parent / "many.jsonl", 400)
    found, _ = evaluated(in_its_home, file=many, rows=400)
    assert found["rows"] == found["asked"] == 400
    assert read_rows >= 4 * 400
    assert most <= 12


def test_free_answers_of_a_split_have_no_classes_and_the_worst_rows_are_listed(
    make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    run = trained(
        make_recipe(validation=None, validation_fraction=0.4, max_steps=2), FolderRun(tmp_path / "run")
    )
    found, _ = evaluated(run)
    assert found["data"]["kind"] == "split"
    assert found["tuned"].keys() == {"loss", "token_accuracy", "perplexity", "exact_match", "token_f1"}
    assert found["confusion"] is None
    assert 0 < len(found["worst"]) <= 8
    scores = [row["token_f1"] for row in found["worst"]]
    assert (
        scores == sorted(scores)
        and {"where", "prompt", "expected", "base", "tuned"} < found["worst"][0].keys()
    )


def test_a_checkpoint_is_measured_as_its_training_did(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    trained(make_recipe(), FolderRun(folder))
    step, _ = evaluated(folder, folder=folder / "checkpoints" / "step-5")
    assert (step["model"], step["checkpoint"]) == ("checkpoints/step-5", 5)
    last, _ = evaluated(folder)
    recorded = json.loads((folder / "report.json").read_text())
    assert last["tuned"]["loss"] == pytest.approx(recorded["loss"], rel=1e-4)
    assert last["base"]["loss"] == pytest.approx(recorded["base_loss"], rel=1e-4)
    assert last["tuned"]["loss"] < step["tuned"]["loss"] < step["base"]["loss"]


@pytest.mark.parametrize(
    "method", [{"method": "full", "learning_rate": 3e-3}, {"quantization": "nf4"}, {"dora": True}], ids=str
)
def test_other_methods_are_measured_as_their_training_did(
    method: dict[str, Any], make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    folder = trained(make_recipe(**method), FolderRun(tmp_path / "run"))
    recorded = json.loads((folder / "report.json").read_text())
    found, _ = evaluated(folder)
    assert found["tuned"]["loss"] == pytest.approx(recorded["loss"], rel=1e-4)
    assert found["base"]["loss"] == pytest.approx(recorded["base_loss"], rel=1e-4)


def test_a_classifier_is_measured_from_its_logits(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    rows = labelled_rows(tmp_path / "labelled.jsonl", 30)
    held = labelled_rows(tmp_path / "held.jsonl", 12)
    recipe = make_recipe(
        task="classification", data=str(rows), validation=str(held), max_steps=30, learning_rate=3e-2
    )
    run = FolderRun(tmp_path / "run")
    folder, measured = trained(recipe, run), run.of("evaluated")
    found, _ = evaluated(folder)
    for side, told in (
        ("base", measured[0]),
        ("tuned", measured[-1]),
    ):  # the base with the same untrained head
        assert found[side]["loss"] == pytest.approx(told.loss, rel=1e-4)
        assert {name: found[side][name] for name in told.metrics} == pytest.approx(told.metrics)
    assert found["tuned"]["accuracy"] > 0.8
    assert found["base"]["accuracy"] <= 0.5
    assert found["confusion"]["labels"] == sorted(COLOURS)
    cells = found["confusion"]["tuned"]
    assert sum(times for wanted, given, times in cells if wanted == given) / 12 == found["tuned"]["accuracy"]
    assert sum(times for *_, times in cells) == 12
    assert found["samples"] == found["worst"] == [] and found["asked"] == 0
    assert any("by chance" in note for note in found["notes"])

    held.write_text(json.dumps({"text": "it runs", "label": "fill"}) + "\n")
    with pytest.raises(HeldOutError, match="has no class 'fill'"):
        evaluated(folder, file=held)


@pytest.mark.parametrize("task", ["dpo", "orpo"])
def test_preferences_are_measured_as_their_training_did(
    task: str, make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "CHUNK_ROWS", 5)
    recipe = make_recipe(
        task=task,
        data=str(pair_rows(tmp_path / "pairs.jsonl", 16)),
        validation=str(pair_rows(tmp_path / "held.jsonl", 12)),
        beta=0.5,
    )
    run = FolderRun(tmp_path / "run")
    folder, measured = trained(recipe, run), run.of("evaluated")
    found, _ = evaluated(folder)
    assert found["tuned"]["loss"] == pytest.approx(measured[-1].loss, rel=1e-3)
    assert found["base"]["loss"] == pytest.approx(measured[0].loss, rel=1e-3)
    for name in ("preference_accuracy", "margin"):
        assert found["tuned"][name] == pytest.approx(measured[-1].metrics[name], rel=1e-3)
    assert found["tuned"]["preference_accuracy"] == found["tuned"]["chosen_likelier"] == 1.0
    assert ("margin" in found["base"]) is (task == "orpo")
    assert 0 <= found["base"]["chosen_likelier"] <= 1
    assert found["asked"] == 0 and found["samples"][0]["expected"] == "salt water please"


def test_completions_are_scored_and_plain_texts_only_sampled(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        "".join(json.dumps({"prompt": f"ask {n} ", "completion": "salt water"}) + "\n" for n in range(12))
    )
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "".join(
            json.dumps({"text": "the lamp glows when you add salt water and it runs"}) + "\n"
            for _ in range(4)
        )
    )
    folder = trained(
        make_recipe(task="completion", data=str(pairs), validation=str(pairs)), FolderRun(tmp_path / "run")
    )
    found, _ = evaluated(folder)
    assert found["asked"] == 12 and "token_f1" in found["tuned"] and found["confusion"] is None
    plain, _ = evaluated(folder, file=texts)
    assert plain["asked"] == 0 and "token_f1" not in plain["tuned"]
    assert plain["samples"][0]["prompt"] == "the lamp glows when you add salt water"
    assert plain["samples"][0]["expected"] == "and it runs"


def test_another_file_is_named_with_its_hash_and_one_that_was_trained_on_is_told(in_its_home: Path) -> None:
    found, _ = evaluated(in_its_home, file=in_its_home.parent / "train.jsonl", rows=9)
    assert (found["rows"], found["data"]["available"], found["data"]["kind"]) == (9, 28, "file")
    assert any("remembers" in note for note in found["notes"])
    sources = json.loads((in_its_home / "data" / "sources.json").read_text())
    assert found["data"]["files"][0]["sha256"] == sources["training"][0]["sha256"]


def test_what_can_t_be_measured_is_told_and_nothing_is_written(
    in_its_home: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    before = (in_its_home / "report.json").read_bytes()
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"messages": [\n' + json.dumps({"text": "salt"}) + "\n")
    with pytest.raises(
        HeldOutError, match=r"broken.jsonl:1: (.|\n)*broken.jsonl:2: this is plain text"
    ) as error:
        evaluated(in_its_home, file=broken)
    assert "2 of 2 rows" in error.value.cause
    assert (in_its_home / "report.json").read_bytes() == before

    without = trained(make_recipe(validation=None, max_steps=2), FolderRun(tmp_path / "run"))
    with pytest.raises(HeldOutError, match="held no rows back"):
        evaluated(without)
    assert "evaluation" not in read(without / "report.json")


def test_a_report_keeps_what_it_has_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert read(path) == {}
    put_evaluation(path, {"rows": 1, "loss": math.inf})
    assert json.loads(path.read_text()) == {"evaluation": {"rows": 1, "loss": None}}
    path.write_text('{"loss": 0.5, "evaluation": {"rows": 1}}')
    put_evaluation(path, {"rows": 2})
    assert json.loads(path.read_text()) == {"loss": 0.5, "evaluation": {"rows": 2}}
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("[1")
    for act in (lambda: read(path), lambda: put_evaluation(path, {})):
        with pytest.raises(ReportError, match="can't be read"):
            act()
    assert path.read_text() == "[1"


async def test_the_worker_says_how_far_it_is_and_its_errors_arrive(in_its_home: Path, tmp_path: Path) -> None:
    client = PipeClient("core.training.report_worker", tmp_path / "report.log")
    asked = {"run": str(in_its_home), "folder": str(in_its_home / "model"), "rows": 5, "max_tokens": 4}
    frames = [frame async for frame in client.stream("evaluate", file=None, **asked)]
    kinds = [kind for kind, _ in frames]
    assert kinds[-1] == "result" and set(kinds[:-1]) == {"chunk"}
    assert [value["phase"] for kind, value in frames if kind == "chunk"][:3] == [
        "starting torch",
        "reading the rows",
        "loading base and tuned model",
    ]
    assert frames[-1][1]["rows"] == 5
    assert json.loads((in_its_home / "report.json").read_text())["evaluation"] == frames[-1][1]
    with pytest.raises(PipeError, match="no-such-file"):
        await client.call("evaluate", file=str(tmp_path / "no-such-file.jsonl"), **asked)
    await client.close()
