"""The Azure backend's checks: made without Azure, and honest about that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.azure.account import Account, save
from core.backends import BackendError, get
from core.backends.azure import AzureBackend
from core.backends.azure_rows import CHARACTERS_PER_TOKEN
from core.recipe import Recipe, RecipeError, build, dump, parse

ROWS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "user", "content": f"question {n:04}"},
            {"role": "assistant", "content": "an answer"},
        ]
    }
    for n in range(20)
]
CHARACTERS = len("question 0000") + len("an answer")


@pytest.fixture(autouse=True)
def chosen(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account, and no way to any Azure: a check that asked would fail."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    save(Account("azure_cli", "", "sub", "group", "project", "eastus2"))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    def make(rows: list[dict[str, Any]] | None = None, **changes: Any) -> Recipe:
        path = tmp_path / "rows.jsonl"
        path.write_text(
            "".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)), encoding="utf-8"
        )
        return build({"model": "phi-4-mini-instruct", "data": str(path), "backend": "azure", **changes})

    return make


def errors(recipe: Recipe) -> dict[str, str]:
    """Everything said against each key."""
    found: dict[str, str] = {}
    for item in AzureBackend().check(recipe).errors:
        found[item.key] = f"{found.get(item.key, '')} {item.sentence} {item.fix}".strip()
    return found


def test_it_is_found_by_its_name() -> None:
    assert isinstance(get("azure"), AzureBackend)
    with pytest.raises(BackendError):
        get("nowhere")


def test_a_good_recipe_has_its_tokens_counted_and_says_what_was_not_asked(
    recipe: Callable[..., Recipe],
) -> None:
    checked = AzureBackend().check(recipe(validation_fraction=0.1, epochs=3))
    assert checked.errors == []
    assert checked.estimate is None
    sizes = checked.remote
    assert sizes is not None
    assert (sizes.rows, sizes.validation_rows, sizes.epochs, sizes.epochs_from) == (18, 2, 3.0, "recipe")
    assert (sizes.counted, sizes.sampled_rows) == ("characters", 0)
    assert sizes.tokens == round(18 * CHARACTERS / CHARACTERS_PER_TOKEN)
    assert sizes.billed_tokens == 3 * sizes.tokens
    assert any("Azure was not asked" in item.sentence for item in checked.problems)


def test_epochs_left_to_the_service_are_its_own(recipe: Callable[..., Recipe]) -> None:
    sizes = AzureBackend().check(recipe()).remote
    assert sizes is not None
    assert (sizes.epochs, sizes.epochs_from) == (1.0, "service")


def test_every_refused_setting_is_named_before_anything_is_sent(recipe: Callable[..., Recipe]) -> None:
    found = errors(recipe(rank=8, warmup=0.1, sequence_length=512))
    assert {"rank", "warmup", "sequence_length"} == set(found)
    assert "Leave it out" in found["rank"]


def test_a_retired_model_names_its_successor(recipe: Callable[..., Recipe]) -> None:
    found = errors(recipe(model="phi-3.5-mini-instruct"))
    assert "2025-08-30" in found["model"]
    assert "Phi-4-mini-instruct" in found["model"]


def test_a_model_that_azure_lacks_names_those_it_has(recipe: Callable[..., Recipe]) -> None:
    assert "phi-4-mini-instruct" in errors(recipe(model="smollm2-135m-instruct"))["model"]


def test_a_region_that_the_table_lacks_is_a_warning_only(recipe: Callable[..., Recipe]) -> None:
    save(Account("azure_cli", "", "sub", "group", "project", "norwayeast"))
    checked = AzureBackend().check(recipe())
    assert checked.errors == []
    assert any("norwayeast" in item.sentence and item.severity == "warning" for item in checked.problems)


def test_without_a_project_nothing_can_be_sent(recipe: Callable[..., Recipe]) -> None:
    save(Account())
    assert "subscription, resource group, project" in errors(recipe())["backend"]


ODD: dict[str, dict[str, Any]] = {
    "calls tools": {
        "messages": [
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "1"},
            {"role": "assistant", "content": "1"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    },
    "not to be learned": {
        "messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "a", "weight": 0},
            {"role": "user", "content": "y"},
            {"role": "assistant", "content": "b"},
        ]
    },
}


@pytest.mark.parametrize("words", ODD)
def test_rows_that_azure_would_learn_differently_are_refused(
    recipe: Callable[..., Recipe], words: str
) -> None:
    found = errors(recipe([*ROWS, ODD[words]]))
    assert words in found["data"]
    assert ":21" in found["data"]


def test_plain_text_is_refused_for_completion_but_prompts_pass(recipe: Callable[..., Recipe]) -> None:
    texts = [{"text": f"some words {n}"} for n in range(12)]
    assert "prompt and its completion" in errors(recipe(texts, task="completion"))["data"]
    prompts = [{"prompt": f"p {n}", "completion": "c"} for n in range(12)]
    assert errors(recipe(prompts, task="completion")) == {}


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"validation_fraction": 0.1}, "validation_fraction", "is not split"),
        ({"data": [{"asset": "azureml:a:1", "max_rows": 5}]}, "data", "max_rows"),
        ({"data": [{"asset": "azureml:a:1", "weight": 2.0}]}, "data", "weight"),
        ({"data": ["azureml:a:1", "azureml:b:1"]}, "data", "one of 2 sources"),
    ],
)
def test_what_a_data_asset_can_not_have_is_named(
    recipe: Callable[..., Recipe], changes: dict[str, Any], key: str, words: str
) -> None:
    assert words in errors(recipe(**{"data": "azureml:a:1", **changes}))[key]


@pytest.mark.parametrize("key", ["data", "validation"])
def test_this_machine_trains_on_no_data_asset(recipe: Callable[..., Recipe], key: str) -> None:
    wanted = recipe(backend="local", **{key: "azureml:questions:1"})
    [found] = [item for item in get("local").check(wanted).errors if item.key == key]
    assert "azureml:questions:1 lies in Azure" in found.sentence
    assert "finetui azure data azureml:questions:1 --save" in found.fix


def test_a_recipe_keeps_the_name_of_its_data_asset(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    wanted = recipe(data="azureml:questions:1", validation="azureml:held-out:2")
    assert parse(dump(wanted)) == wanted == wanted.absolute(tmp_path)
    assert "data: azureml:questions:1\n" in dump(wanted)
    assert "azureml" in wanted.title
    for wrong in ({"data": "azureml:questions"}, {"validation": "azureml:questions"}):
        with pytest.raises(RecipeError, match="azureml:NAME:VERSION"):
            recipe(**wrong)


def test_few_rows_are_a_warning(recipe: Callable[..., Recipe]) -> None:
    checked = AzureBackend().check(recipe(ROWS[:5]))
    assert checked.errors == []
    assert any(item.key == "data" and "10 or more" in item.sentence for item in checked.problems)


def test_how_long_it_takes_is_not_made_up(recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(BackendError, match="not known"):
        AzureBackend().time(recipe(), None)  # type: ignore[arg-type]


def test_an_asset_is_not_split_and_no_fraction_is_advised(recipe: Callable[..., Recipe]) -> None:
    from core.azure.account import load
    from core.azure.assets import kept

    file = kept(load(), "azureml:mine:1")
    file.parent.mkdir(parents=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    checked = AzureBackend().check(recipe(data="azureml:mine:1"))
    [told] = [item for item in checked.problems if item.key == "validation"]
    assert "validation_fraction" not in told.fix
    wrong = AzureBackend().check(recipe(data="azureml:mine:1", validation_fraction=0.4))
    assert [item.key for item in wrong.errors] == ["validation_fraction"]
    assert wrong.remote is not None
    assert (wrong.remote.rows, wrong.remote.validation_rows) == (20, 0)


def test_part_of_an_epoch_names_the_next_whole_one(recipe: Callable[..., Recipe]) -> None:
    assert "Set `epochs` to 2" in errors(recipe(epochs=1.5))["epochs"]
