"""Each task takes its rows, learns what it should of them, and refuses the others by name."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from core.backends.local import LocalBackend
from core.data.conversation import Conversation
from core.data.rendering import Renderer
from core.data.rows import read_rows
from core.recipe import Recipe
from core.training.inputs import InputError
from core.training.rows import Example
from core.training.tasks import render
from tests.core.training import tiny
from tests.core.training.conftest import Ask, FolderRun

MakeRecipe = Callable[..., Recipe]
GOOD, BAD = ["lamp", "glows", "salt"], ["water", "hours", "forty"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(path: Path, rows: int, seed: int = 0) -> Path:
    pick = random.Random(seed)
    return write(path, [{"text": " ".join(pick.choices(tiny.WORDS, k=12))} for _ in range(rows)])


def completions(path: Path, rows: int, seed: int = 0) -> Path:
    pick = random.Random(seed)
    made = [" ".join(pick.choices(tiny.WORDS, k=8)) for _ in range(rows)]
    return write(path, [{"prompt": text, "completion": " please ask again"} for text in made])


def labelled(path: Path, rows: int, seed: int = 0) -> Path:
    pick = random.Random(seed)
    made = []
    for _ in range(rows):
        label = pick.random() < 0.4
        words = pick.choices(GOOD if label else BAD, k=4) + ["the", "fill"]
        pick.shuffle(words)
        made.append({"text": " ".join(words), "label": "good" if label else "bad"})
    return write(path, made)


def pairs(path: Path, rows: int, seed: int = 0) -> Path:
    pick = random.Random(seed)
    made = []
    for _ in range(rows):
        made.append(
            {
                "prompt": " ".join(pick.choices(tiny.WORDS, k=6)),
                "chosen": " ".join(pick.choices(GOOD, k=3)),
                "rejected": " ".join(pick.choices(BAD, k=pick.randint(1, 5))),
            }
        )
    return write(path, made)


MAKERS: dict[str, Callable[..., Path]] = {
    "completion": completions,
    "classification": labelled,
    "dpo": pairs,
    "orpo": pairs,
}


def recipe_of(task: str, make_recipe: MakeRecipe, folder: Path, **changes: Any) -> Recipe:
    maker = MAKERS[task]
    return make_recipe(
        task=task,
        data=str(maker(folder / "rows.jsonl", 24)),
        validation=str(maker(folder / "held.jsonl", 12, seed=9)),
        **changes,
    )


def train(recipe: Recipe, folder: Path) -> FolderRun:
    run = FolderRun(folder)
    assert LocalBackend().train(recipe, run).kind == "finished"
    return run


METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "nf4": {"quantization": "nf4"},
    "ia3": {"method": "ia3", "learning_rate": 0.2},
    "full": {"method": "full", "learning_rate": 3e-3},
}


def grid() -> Iterator[Any]:
    """Every task with every method on every family; quick are LoRA with each task and each method with one."""
    families = list(tiny.FAMILIES)
    for one, task in enumerate(MAKERS):
        for two, method in enumerate(METHODS):
            quick = families[(one + two) % len(families)] if method == "lora" or one == two else ""
            for family in families:
                yield pytest.param(family, task, method, marks=() if family == quick else pytest.mark.slow)


@pytest.mark.parametrize(("family", "task", "method"), grid())
def test_every_task_learns_with_every_kind_of_method(
    family: str, task: str, method: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    model = tiny.make_model(tmp_path / family, family=family)
    changes = {"max_steps": 12, "beta": 1.0 if task == "dpo" else None, **METHODS[method]}
    if (task, method) == ("classification", "ia3"):
        changes["learning_rate"] = 0.02  # its head learns at the same rate
    recipe = recipe_of(task, make_recipe, tmp_path, model=str(model), **changes)
    run = train(recipe, tmp_path / "run")
    before, after = run.of("evaluated")[0], run.of("evaluated")[-1]
    assert after.loss < before.loss - (0.02 if task != "classification" else 0.05)
    name, more = {
        "completion": ("token_accuracy", -0.01),
        "classification": ("accuracy", 0.1),
        "dpo": ("margin", 0.1),
        "orpo": ("margin", 0.01),
    }[task]
    assert after.metrics[name] > before.metrics[name] + more
    if task == "dpo":
        assert before.loss == pytest.approx(
            0.6931, abs=1e-3
        )  # log 2: nothing is preferred to the reference yet
        assert before.metrics["margin"] == pytest.approx(0, abs=1e-3)
    if task == "completion":
        assert after.perplexity is not None
    else:
        assert after.perplexity is None


def test_a_classifier_is_saved_with_its_labels(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = recipe_of(
        "classification", make_recipe, tmp_path, method="full", learning_rate=1e-2, max_steps=30
    )
    run = train(recipe, tmp_path / "run")
    last = run.of("evaluated")[-1]
    assert last.metrics == {"accuracy": 1.0, "macro_f1": 1.0}
    assert not run.of("sampled")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model").eval()
    assert model.config.id2label == {0: "bad", 1: "good"}
    renderer = Renderer.from_folder(tmp_path / "run/model", conversations=False)
    for text, label in (("salt lamp the lamp glows", "good"), ("water forty the hours fill", "bad")):
        with torch.no_grad():
            number = int(model(torch.tensor([renderer.encode(text)])).logits.argmax())
        assert model.config.id2label[number] == label


def test_dpo_s_reference_is_frozen_with_the_run(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = recipe_of("dpo", make_recipe, tmp_path, dropout=0.1)
    whole = train(recipe, tmp_path / "whole")
    first = FolderRun(tmp_path / "parts")
    first.asked = {4: Ask("pause")}
    LocalBackend().train(recipe, first)
    second = FolderRun(tmp_path / "parts", resume_from=tmp_path / "parts/checkpoints/step-4")
    LocalBackend().train(recipe, second)
    losses = [step.loss for step in [*first.of("step"), *second.of("step")]]
    assert losses == [step.loss for step in whole.of("step")]
    assert (tmp_path / "parts/data/reference_training.npy").stat().st_mode & 0o777 == 0o600


def masks(task: str, path: Path, model: Path) -> list[list[tuple[str, str]]]:
    """(whole text, trained text) of each rendered text of each row."""
    renderer = Renderer.from_folder(model)
    rows = [row for row in read_rows(path) if isinstance(row, Conversation)]
    found = []
    for example in render(task, rows, renderer):
        assert isinstance(example, Example)
        found.append(
            [
                (
                    item.text,
                    renderer.decode([i for i, use in zip(item.ids, item.trained, strict=True) if use]),
                )
                for item in example.rendered
            ]
        )
    return found


def test_what_each_task_learns_of_a_row(tiny_model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "ask", "completion": " again"}, {"text": "the lamp"}])
    assert masks("completion", path, tiny_model) == [
        [("ask again<|endoftext|>", " again<|endoftext|>")],
        [("the lamp<|endoftext|>", "the lamp<|endoftext|>")],
    ]
    path = write(tmp_path / "b.jsonl", [{"text": "the lamp", "label": 1}])
    assert masks("classification", path, tiny_model) == [[("the lamp", "")]]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    prompt = [*turns, {"role": "user", "content": "ask"}]
    path = write(tmp_path / "c.jsonl", [{"prompt": prompt, "chosen": "salt", "rejected": "water"}])
    ((chosen, rejected),) = masks("dpo", path, tiny_model)
    assert chosen[1] == "salt<|end|>"  # not the first answer, which is part of the prompt
    assert rejected[1] == "water<|end|>"
    assert chosen[0].replace("salt", "water") == rejected[0]


@pytest.mark.parametrize(
    ("task", "maker", "named"),
    [
        ("chat", texts, "Set `task: completion`"),
        ("chat", labelled, "Set `task: classification`"),
        ("chat", pairs, "Set `task: dpo`"),
        ("completion", labelled, "Set `task: classification`"),
        ("completion", tiny.make_rows, "Leave `task` out"),
        ("classification", texts, "Set `task: completion`"),
        ("dpo", completions, "Leave `task` out"),
        ("orpo", texts, "Set `task: completion`"),
    ],
    ids=lambda item: getattr(item, "__name__", item),
)
def test_rows_of_another_task_are_refused_with_the_task_they_are_for(
    task: str, maker: Callable[..., Path], named: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    rows = maker(tmp_path / "rows.jsonl", 5)
    recipe = make_recipe(task=task, data=str(rows), validation=None)
    with pytest.raises(InputError) as caught:
        LocalBackend().train(recipe, FolderRun(tmp_path / "run"))
    assert f"the task `{task}` trains on" in caught.value.what
    told = [problem for problem in LocalBackend().check(recipe).problems if problem.key == "data"]
    assert named in told[0].fix


def test_labels_that_can_t_be_learned_are_refused(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", [{"text": "the lamp", "label": "x"}] * 3)
    with pytest.raises(InputError, match="All rows have the same label, 'x'"):
        LocalBackend().train(
            make_recipe(task="classification", data=str(one), validation=None), FolderRun(tmp_path / "a")
        )
    held = write(tmp_path / "held.jsonl", [{"text": "the lamp", "label": "unseen"}])
    recipe = make_recipe(
        task="classification", data=str(labelled(tmp_path / "rows.jsonl", 9)), validation=str(held)
    )
    with pytest.raises(InputError, match="no training row has the label 'unseen'"):
        LocalBackend().train(recipe, FolderRun(tmp_path / "b"))


@pytest.mark.parametrize("task", list(MAKERS))
def test_the_plan_counts_what_the_run_trains_on(task: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = recipe_of(task, make_recipe, tmp_path, sequence_length=20)
    sizes = LocalBackend().check(recipe).estimate
    run = train(recipe, tmp_path / "run")
    (planned,) = run.of("planned")
    assert sizes is not None
    assert (sizes.rows, sizes.steps, sizes.trainable_parameters, sizes.parameters) == (
        planned.rows, planned.steps, planned.trainable_parameters, planned.parameters
    )  # fmt: skip
    assert sizes.tokens == pytest.approx(planned.tokens, rel=0.05)


def test_a_model_without_a_template_learns_texts(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    model = tiny.make_model(tmp_path / "base")
    (model / "chat_template.jinja").unlink()
    recipe = make_recipe(
        model=str(model), task="completion", data=str(texts(tmp_path / "rows.jsonl", 20)), validation=None
    )
    run = train(recipe, tmp_path / "run")
    sampled = run.of("sampled")[-1]
    assert len(sampled.prompt.split()) == 8
    assert sampled.expected
    assert not LocalBackend().check(recipe).errors
