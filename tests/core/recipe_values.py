"""Values for a recipe's fields, made from its table: inside and outside of their ranges."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as some

from core.recipe import FieldInfo, RecipeError, build, fields

BASE: dict[str, Any] = {"model": "smollm2-135m-instruct", "data": "train.jsonl"}
BESIDE: dict[str, dict[str, Any]] = {
    "beta": {"task": "dpo"},
    "early_stopping": {"validation": "validation.jsonl"},
    "keep_best": {"validation": "validation.jsonl"},
    "sharding": {"devices": 2},
    "init: loftq": {"quantization": "nf4"},
}
"""What some fields, or some of their values, need beside them."""
LARGE = 10**9

words = some.text(some.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).filter(
    str.strip
)
names = some.from_regex(r"[A-Za-z0-9][A-Za-z0-9_ .-]{0,20}[A-Za-z0-9]", fullmatch=True)
paths = some.from_regex(r"[A-Za-z0-9~-][A-Za-z0-9_ '\"$*é.-]{0,20}\.jsonl", fullmatch=True)


def inside(item: FieldInfo) -> some.SearchStrategy[Any]:
    """Numbers that the table allows, its limits among them."""
    low, high = item.minimum, item.maximum if item.maximum is not None else LARGE
    assert low is not None
    if item.kind == "int":
        return some.one_of(some.sampled_from([int(low), int(high)]), some.integers(int(low), int(high)))
    return some.floats(low, high, exclude_min=item.exclusive, allow_nan=False)


def outside(item: FieldInfo) -> some.SearchStrategy[Any]:
    """Numbers just and far beyond the table's limits."""
    assert item.minimum is not None
    low, high = item.minimum, item.maximum
    if item.kind == "int":
        below: some.SearchStrategy[Any] = some.integers(max_value=int(low) - 1)
        above: some.SearchStrategy[Any] = some.integers(min_value=int(high) + 1 if high is not None else 0)
        limit = 10**30
        below, above = below.filter(lambda value: value > -limit), above.filter(lambda value: value < limit)
    else:
        below = some.floats(max_value=low, exclude_max=not item.exclusive, allow_infinity=False)
        above = some.floats(min_value=high, exclude_min=True, allow_infinity=False) if high else below
        if item.exclusive:
            below = some.one_of(some.just(low), some.floats(max_value=low, allow_infinity=False))
    return some.one_of(below, above) if high is not None else below


def value_of(item: FieldInfo) -> some.SearchStrategy[Any]:
    """Any value that the field takes."""
    if item.choices:
        return some.sampled_from(item.choices)
    special: dict[str, some.SearchStrategy[Any]] = {
        "name": names,
        "device": some.sampled_from(["cpu", "cuda", "cuda:0", "cuda:11"]),
        "target_modules": some.one_of(
            some.just("all-linear"),
            some.lists(words.filter(lambda word: word != "all-linear"), min_size=1, max_size=3),
        ),
        "modules_to_save": some.lists(words, min_size=1, max_size=2),
        "sample_prompts": some.lists(words, max_size=3),
        "validation": paths,
    }
    if item.name in special:
        return special[item.name]
    return {
        "int": lambda: inside(item),
        "float": lambda: inside(item),
        "bool": some.booleans,
        "text": lambda: words,
        "sources": lambda: sources,
    }[item.kind]()


sources = some.lists(
    some.one_of(
        paths,
        some.fixed_dictionaries(
            {"path": paths},
            optional={"weight": some.floats(0, 100, exclude_min=True), "max_rows": some.integers(1, LARGE)},
        ),
        some.fixed_dictionaries(
            {"hub": some.just("owner/set"), "file": paths}, optional={"revision": some.just("0e1")}
        ),
    ),
    min_size=1,
    max_size=3,
)


@some.composite
def recipe_contents(draw: some.DrawFn) -> dict[str, Any]:
    """The plain values of a whole recipe, any of its fields set."""
    optional = {item.name: value_of(item) for item in fields() if not item.required}
    content: dict[str, Any] = draw(
        some.fixed_dictionaries({"model": words, "data": sources}, optional=optional)
    )
    while (named := _named_by_a_rule(content)) is not None:
        content.pop(named)
    return content


def _named_by_a_rule(content: dict[str, Any]) -> str | None:
    """A set field that a rule about several of them names, or None where none is broken."""
    try:
        build(content)
    except RecipeError as error:
        names = re.findall(r"`(\w+)`", error.problems[0][1])
        return next(name for name in reversed(names) if name in content)
    return None
