"""Events survive the journal's one-line JSON, and a reader passes over what it doesn't know."""

from __future__ import annotations

import json
import math
import types
from dataclasses import fields
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core import events
from core.events import KINDS, Event, Step, decode, encode

VALUES: dict[Any, some.SearchStrategy[Any]] = {
    bool: some.booleans(),
    int: some.integers(-(2**63), 2**63),
    float: some.floats(allow_nan=False, allow_infinity=False),
    dict[str, float]: some.dictionaries(some.text(), some.floats(allow_nan=False, allow_infinity=False)),
    str: some.text(some.characters(codec="utf-8")),
    type(None): some.none(),
}


def any_of(annotation: Any) -> some.SearchStrategy[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return some.one_of(*(VALUES[item] for item in get_args(annotation)))
    return VALUES[annotation]


def any_event(kind: type[Event]) -> some.SearchStrategy[Event]:
    hints = get_type_hints(kind)
    return some.builds(kind, **{item.name: any_of(hints[item.name]) for item in fields(kind)})


def a_step(**changes: Any) -> Step:
    content = {
        "step": 3, "epoch": 0.5, "loss": 1.25, "learning_rate": 1e-3, "grad_norm": 0.5, "tokens": 10,
        "trained_tokens": 5, "tokens_per_s": 7.5, "memory_bytes": 1, "duration_s": 0.1,
    }  # fmt: skip
    return Step(**{**content, **changes})


@given(some.one_of(*(any_event(kind) for kind in KINDS.values())))
def test_every_kind_comes_back_equal_from_one_line(event: Event) -> None:
    line = encode(event)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    back = decode(line)
    assert type(back) is type(event)
    assert back == event


def test_all_kinds_are_known_and_told_apart() -> None:
    made = {item for item in vars(events).values() if isinstance(item, type) and issubclass(item, Event)}
    assert set(KINDS.values()) == made - {Event}


def test_an_unknown_kind_is_passed_over() -> None:
    assert decode(b'{"kind": "dreamed", "step": 1}') is None


@pytest.mark.parametrize("line", [b"{}", b'{"kind": null}', b'{"kind": ["step"]}'])
def test_what_has_no_kind_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="kind"):
        decode(line)


def test_unknown_fields_are_passed_over() -> None:
    step = a_step()
    record = {**json.loads(encode(step)), "invented_later": {"a": [1]}}
    assert decode(json.dumps(record).encode()) == step


@pytest.mark.parametrize("name", ["step", "loss", "memory_bytes"])
def test_a_missing_field_is_named(name: str) -> None:
    record = json.loads(encode(a_step()))
    del record[name]
    with pytest.raises(ValueError, match=name):
        decode(json.dumps(record).encode())


@pytest.mark.parametrize(
    "line", [b"", b"{", b'{"kind": "st', b"[]", b'"step"', b"3", b"null", b"\xff\xfe", b"\0\0\0"]
)
def test_what_is_no_event_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        decode(line)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_none_when_read_back(number: float) -> None:
    back = decode(encode(a_step(loss=number, grad_norm=number)))
    assert isinstance(back, Step)
    assert (back.loss, back.grad_norm, back.step) == (None, None, 3)
