"""A recipe takes what its table says and nothing else, and says in a sentence why not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from core.recipe import FieldInfo, Recipe, RecipeError, build, dump, field, fields, load, parse
from core.source import Source
from tests.core import recipe_values
from tests.core.recipe_values import BASE, BESIDE, recipe_contents

NUMBERS = [item for item in fields() if item.kind in ("int", "float")]


def sentences(content: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as refused:
        build(content)
    assert refused.value.next_step
    return [sentence for _, sentence in refused.value.problems]


def problem(text: str) -> str:
    """The one sentence against a YAML text."""
    with pytest.raises(RecipeError) as refused:
        parse(text, "my.yaml")
    assert "my.yaml: " in refused.value.what
    assert len(refused.value.problems) == 1
    return refused.value.problems[0][1]


# The table


def test_every_field_has_help_a_group_and_words_for_what_it_takes() -> None:
    for item in fields():
        assert item.help, item.name
        assert item.group, item.name
        assert item.expected, item.name
    for name, source in Source.model_fields.items():
        assert source.description, name


def test_every_local_default_is_one_the_recipe_takes() -> None:
    for item in fields():
        value = Recipe.model_validate(BASE).value(item.name)
        unset_by_default = item.name == "validation_fraction"  # 0 is no split, said by leaving it out
        if value is not None and not item.required and not unset_by_default:
            beside = BESIDE.get(item.name, {})
            assert getattr(build({**BASE, **beside, item.name: value}), item.name) == value


@pytest.mark.parametrize("item", NUMBERS, ids=lambda item: item.name)
@given(data=some.data())
def test_the_table_s_ranges_are_those_that_hold(item: FieldInfo, data: some.DataObject) -> None:
    inside, outside = recipe_values.inside(item), recipe_values.outside(item)
    value = data.draw(inside)
    assert getattr(build({**BASE, **BESIDE.get(item.name, {}), item.name: value}), item.name) == value
    wrong = data.draw(outside)
    (sentence,) = sentences({**BASE, item.name: wrong})
    assert sentence == f"`{item.name}` is {wrong!r}; expected {item.expected}."


@pytest.mark.parametrize("item", [item for item in fields() if item.choices], ids=lambda item: item.name)
def test_choices_are_those_of_the_table(item: FieldInfo) -> None:
    for choice in item.choices:
        beside = BESIDE.get(item.name) or BESIDE.get(f"{item.name}: {choice}", {})
        assert getattr(build({**BASE, **beside, item.name: choice}), item.name) == choice
    (sentence,) = sentences({**BASE, item.name: "nonesuch"})
    assert f"`{item.name}` is 'nonesuch'" in sentence
    assert all(choice in sentence for choice in item.choices)


@pytest.mark.parametrize("item", NUMBERS, ids=lambda item: item.name)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, True, False, "much", [1], {"a": 1}], ids=repr
)
def test_what_is_no_number_is_no_number(item: FieldInfo, value: Any) -> None:
    (sentence,) = sentences({**BASE, item.name: value})
    assert sentence.startswith(f"`{item.name}` is ")
    assert sentence.endswith(f"expected {item.expected}.")


def test_expected_is_written_to_be_read() -> None:
    assert field("rank").expected == "a whole number from 1 to 1024"
    assert field("seed").expected == "a whole number from 0 to 2147483647"
    assert field("learning_rate").expected == "a number above 0 and up to 1"
    assert field("evaluate_every").expected == "a whole number, 1 or more"


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("2E-4", 2e-4),
        ("1.e-3", 1e-3),
        (".5", 0.5),
        ("1", 1.0),
        ("'0.01'", 0.01),
        ("+1e-2", 0.01),
    ],
)
def test_numbers_may_be_written_as_people_do(text: str, value: float) -> None:
    assert parse(f"model: m\ndata: d\nlearning_rate: {text}").learning_rate == value


def test_whole_numbers_may_be_written_with_an_exponent_but_not_with_a_fraction() -> None:
    assert parse("model: m\ndata: d\nmax_steps: 1e3").max_steps == 1000
    assert problem("model: m\ndata: d\nmax_steps: 1.5").startswith(
        "`max_steps` is 1.5; expected a whole number"
    )


@given(recipe_contents())
def test_a_recipe_comes_back_from_its_yaml(content: dict[str, Any]) -> None:
    recipe = build(content)
    text = dump(recipe)
    assert parse(text) == recipe
    assert dump(parse(text)) == text


@given(some.text(some.characters(codec="utf-8"), min_size=1))
def test_any_text_survives_as_a_prompt(text: str) -> None:
    recipe = build({**BASE, "sample_prompts": [text]})
    assert parse(dump(recipe)).sample_prompts == [text]


def test_words_of_yaml_1_1_stay_words() -> None:
    recipe = parse("model: m\ndata: d\nname: on\nmodel_revision: 2024-02-30\n")
    assert (recipe.name, recipe.model_revision) == ("on", "2024-02-30")


def test_a_key_set_twice_is_refused_with_both_lines() -> None:
    assert problem("model: m\nrank: 8\ndata: d\nrank: 16\n") == (
        "line 4, column 1: `rank` is set a second time (first in line 2)."
    )
    assert "line 3" in problem("model: m\ndata:\n- {path: a, path: b}\n")


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system ['touch {trap}']",
        "model: !!python/name:os.system",
        "!!python/object/new:subprocess.Popen [[touch, '{trap}']]",
        "model: !!binary aGVsbG8=",
        "model: !!timestamp foo",
        "model: !!int word",
        "model: !!bool word",
        "model: !mine x",
    ],
)
def test_tags_are_refused_and_run_nothing(text: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    assert "line 1" in problem(text.replace("{trap}", str(trap)))
    assert not trap.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing",
        "word",
        "- model",
        "3",
        "model: [",
        "model: m\n\tdata: d",
        "model: a: b",
        "? [a]\n: b",
        "model: m\n---\nmodel: n",
        "model: *gone",
        "a: &a [*a]",
        "model: \0",
        "[" * 3000,
        "rank: " + "9" * 5000,
        "# " + "x" * (1 << 20),
    ],
    ids=lambda text: text[:20],
)
def test_odd_yaml_is_refused_in_a_sentence(text: str) -> None:
    assert problem(text).endswith(".")


def test_anchors_that_multiply_don_t_fill_the_memory() -> None:
    layers = "\n".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 20))
    with pytest.raises(RecipeError) as refused:
        parse(f"model: m\ndata:\n- &a0 [x]\n{layers}\n")
    assert len(refused.value.problems) == 20
    assert len(refused.value.what) < 20 * 200


def test_a_file_that_is_no_recipe_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"model: \xff")
    for path, words in (
        (tmp_path / "gone.yaml", "no such file"),
        (tmp_path, "can't be read"),
        (tmp_path / "bytes.yaml", "byte 8"),
        (Path("/dev/zero"), "characters"),
    ):
        with pytest.raises(RecipeError, match=words) as refused:
            load(path)
        assert str(path) in refused.value.what


# Keys and values


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("rnk", "rank"), ("learning-rate", "learning_rate"), ("Epoch", "epochs"), ("lora_alpha", "alpha"),
     ("dataset", "data"), ("batchsize", "batch_size")],
)  # fmt: skip
def test_a_misspelt_key_gets_the_nearest(wrong: str, right: str) -> None:
    (sentence,) = sentences({**BASE, wrong: 3})
    assert sentence == f"`{wrong}` is not a key of a recipe. Did you mean `{right}`?"


@pytest.mark.parametrize("key", ["strategy", "string", "list[x", "function-x", "constrained"])
def test_an_unknown_key_may_look_like_a_type(key: str) -> None:
    assert sentences({**BASE, key: 1})[0].startswith(f"`{key}` is not a key")


def test_all_problems_are_told_at_once_each_with_its_key() -> None:
    with pytest.raises(RecipeError) as refused:
        build({"model": 3, "rank": 0, "rnk": 1})
    assert {key for key, _ in refused.value.problems} == {"model", "data", "rank", "rnk"}
    assert refused.value.what.count("\n") == 3


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("data", 3, "`data` is 3; expected a file, or a list of files."),
        ("data", [], "`data` is []; expected a file, or a list of files."),
        ("data", None, "`data` is empty; expected a file, or a list of files."),
        ("data", [3], "`data` item 1 is 3; expected a file name, or a mapping with `path` or `hub`."),
        ("data", ["a", {"pth": "b"}], "`data` item 2: `pth` is not a key of a data source. Did you mean `path`?"),
        ("data", [{"path": "a", "weight": 0}],
         "`data` item 1: `weight` is 0; expected a number above 0 and up to 100."),
        ("data", [{"path": "a", "weight": True}],
         "`data` item 1: `weight` is true; expected a number above 0 and up to 100."),
        ("data", [{"path": "a", "max_rows": 0}], "`data` item 1: `max_rows` is 0; expected a whole number, 1 or more."),
        ("data", [{"path": "a", "hub": "b/c"}], "`data` item 1: give either `path` (a file) or `hub` (a data set)."),
        ("data", [{"hub": "b/c"}], "`data` item 1: a hub data set needs `file`, the name of one of its files."),
        ("data", ["a\0b"], "`data` item 1: `path` is 'a\\x00b'; it holds a zero byte."),
        ("model", "", "`model` is empty; expected a catalogue id, a hub id or a folder."),
        ("model", None, "`model` is empty; expected a catalogue id, a hub id or a folder."),
        ("name", 2024, "`name` is 2024; expected text: put it in quotes."),
        ("device", "gpu", "`device` is 'gpu'; use `cpu`, `cuda` or `cuda:N`."),
        ("version", 2, "`version` is 2; expected 1."),
        ("sample_prompts", "Hi", "`sample_prompts` is 'Hi'; expected a list of texts."),
        ("sample_prompts", ["Hi", 3], "`sample_prompts` item 2 is 3; expected text."),
        ("target_modules", [], "`target_modules` is []; expected `all-linear` or a list of module names."),
        ("target_modules", ["a", 3],
         "`target_modules` is ['a', 3]; expected `all-linear` or a list of module names."),
        ("gradient_checkpointing", 3, "`gradient_checkpointing` is 3; expected true or false."),
    ],
)  # fmt: skip
def test_sentences_name_key_value_and_what_was_expected(key: str, value: Any, sentence: str) -> None:
    assert sentences({**BASE, key: value}) == [sentence]


def test_a_long_value_is_cut() -> None:
    (sentence,) = sentences({**BASE, "rank": "x" * 100_000})
    assert len(sentence) < 200


def test_validation_rows_come_from_one_place() -> None:
    assert sentences({**BASE, "validation": "v", "validation_fraction": 0.1}) == [
        "`validation` and `validation_fraction` are both set; keep one."
    ]


def test_one_meaning_has_one_spelling() -> None:
    for value in ("all-linear", ["all-linear"]):
        assert build({**BASE, "target_modules": value}).target_modules == "all-linear"
    for names in ("q_proj", ["q_proj"]):
        assert build({**BASE, "target_modules": names}).target_modules == ["q_proj"]
    for data in ("a.jsonl", ["a.jsonl"], {"path": "a.jsonl"}, [{"path": "a.jsonl", "weight": 1}]):
        assert build({**BASE, "data": data}).data == [Source(path="a.jsonl")]


def test_several_sources_with_weights_caps_and_a_hub_data_set() -> None:
    text = (
        "model: m\ndata:\n- a.jsonl\n- path: b.jsonl\n  weight: 0.5\n  max_rows: 10\n"
        "- hub: owner/set\n  file: train.jsonl\n  revision: abc\n  weight: 2\n"
    )
    recipe = parse(text)
    assert recipe.data == [
        Source(path="a.jsonl"),
        Source(path="b.jsonl", weight=0.5, max_rows=10),
        Source(hub="owner/set", file="train.jsonl", revision="abc", weight=2.0),
    ]
    assert [source.title for source in recipe.data] == ["a.jsonl", "b.jsonl", "owner/set/train.jsonl"]
    assert parse(dump(recipe)) == recipe


# Unset and set


def test_unset_means_the_default_and_set_means_set() -> None:
    recipe = build({**BASE, "rank": 16})
    assert (recipe.rank, recipe.value("rank")) == (16, 16)
    assert (recipe.dropout, recipe.value("dropout")) == (None, 0.0)
    assert recipe.value("max_steps") is None  # a rule, not a value
    assert "dropout" not in dump(recipe)
    assert "rank: 16" in dump(recipe)
    assert build({**BASE, "rank": None}) == build(BASE)
    assert parse("model: m\ndata: d\nrank:\n").rank is None


# Paths


def test_relative_paths_are_taken_from_the_recipe_s_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "recipes"
    (folder / "models" / "mine").mkdir(parents=True)
    (folder / "models" / "mine" / "config.json").write_text("{}")
    file = folder / "r.yaml"
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(tmp_path))
    file.write_text(
        "model: ./models/mine\ndata: [train.jsonl, ../other.jsonl, /abs.jsonl, ~/home.jsonl, ~nobody-here/x]\n"
        "validation: v.jsonl\nchat_template: t.jinja\n"
    )
    recipe = load(file)
    assert recipe.model == str(folder / "models" / "mine")
    assert [source.path for source in recipe.data] == [
        str(folder / "train.jsonl"),
        str(tmp_path / "other.jsonl"),
        "/abs.jsonl",
        str(tmp_path / "home.jsonl"),
        str(folder / "~nobody-here" / "x"),
    ]
    assert recipe.validation == str(folder / "v.jsonl")
    assert recipe.chat_template == str(folder / "t.jinja")
    assert recipe.absolute(Path("/elsewhere")) == recipe


def test_a_model_folder_beside_the_recipe_is_found_without_a_dot(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    (tmp_path / "models" / "mine" / "config.json").write_text("{}")
    for name, expected in (
        ("models/mine", str(tmp_path / "models" / "mine")),
        ("models/other", "models/other"),  # a hub id
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
    ):
        assert build({**BASE, "model": name}).absolute(tmp_path).model == expected


@given(some.text(min_size=1, max_size=90))
def test_a_name_is_one_that_a_run_can_have(name: str) -> None:
    from core.runs.directory import RunError, checked_name

    try:
        checked_name(name)
        good = name == name.strip()
    except RunError:
        good = False
    assume(name.strip())
    try:
        build({**BASE, "name": name})
    except RecipeError:
        assert not good
    else:
        assert good or name != name.strip()


def test_the_title_is_made_of_model_and_data() -> None:
    assert build({"model": "/m/Phi-3", "data": "/d/Train.jsonl"}).title == "phi-3-train"
    assert build({**BASE, "name": "Mine 1"}).title == "Mine 1"
