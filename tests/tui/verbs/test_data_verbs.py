"""`finetui data fix|split|sample|show|stats|check` as commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.runs.journal import Journal
from tests.core.data.check.making import chat, clean, write
from tests.tui.driving import tiny_model as word_model
from tests.tui.made_runs import T0, make_run, step
from tests.tui.verbs.conftest import Finetui


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(
        tmp_path / "rows.jsonl", *map(clean, range(11)), chat("Mail b@acme.org [x]", "Done."), "{broken"
    )


def test_fix_shows_a_diff_and_writes_only_when_told_where(
    finetui: Finetui, data: Path, tmp_path: Path
) -> None:
    before = data.read_bytes()
    result = finetui("data", "fix", data, "--code", "email", "--code", "broken-json")
    assert result.exit_code == 0
    assert '-      "content": "Mail b@acme.org [x]"' in result.stdout
    assert '+      "content": "Mail [email] [x]"' in result.stdout
    assert "+++ row 13 (line 13), dropped" in result.stdout
    assert "2 rows would change; nothing was written" in result.stderr
    assert [item.name for item in tmp_path.iterdir() if item.suffix == ".jsonl"] == ["rows.jsonl"]
    target = tmp_path / "fixed.jsonl"
    result = finetui("data", "fix", data, "--code", "email", "--code", "broken-json", "--output", target)
    assert (result.exit_code, result.stdout) == (0, f"{target}\n")
    assert "13 rows: 1 changed, 1 dropped, 12 written" in result.stderr
    assert finetui("data", "check", target).exit_code == 0
    assert data.read_bytes() == before
    assert "is there already" in finetui("data", "fix", data, "--repair", "redact", "--output", target).stderr


def test_fix_says_what_it_can_t_do(finetui: Finetui, data: Path) -> None:
    for words, told in (
        ((), "nothing to do"),
        (("--code", "emial"), "no problem code"),
        (("--repair", "mend"), "no repair"),
        (("--code", "too-long"), "Name the model"),
        (("--repair", "edit"), "finetui data open"),
    ):
        result = finetui("data", "fix", data, *words)
        assert result.exit_code == 2, words
        assert told in result.stderr, words


def test_split_and_sample(finetui: Finetui, data: Path, tmp_path: Path) -> None:
    train, validation, some = (tmp_path / name for name in ("t.jsonl", "v.jsonl", "s.jsonl"))
    result = finetui("data", "split", data, "--train", train, "--validation", validation, "--rows", 3)
    assert result.exit_code == 0, result.stderr
    assert "1 of 13 rows can't be used" in result.stderr
    rows = [path.read_text().splitlines() for path in (train, validation)]
    assert [len(side) for side in rows] == [9, 3]
    assert not set(rows[0]) & set(rows[1])
    result = finetui("data", "sample", train, "--output", some, "--rows", 4, "--json")
    assert json.loads(result.stdout)["written"] == {str(some): 4}
    assert finetui("data", "split", data, "--train", train, "--validation", some).exit_code == 2


def test_show_prints_json_or_the_trained_text(finetui: Finetui, data: Path, tmp_path: Path) -> None:
    assert json.loads(finetui("data", "show", data, "--row", 3).stdout) == clean(2)
    model = word_model(tmp_path / "model")
    told = finetui("data", "show", data, "--row", 3, "--model", model).stdout
    assert "⟦It is 4.<|im_end|>■⟧↵" in told
    answer = json.loads(finetui("data", "show", data, "--row", 3, "--model", model, "--json").stdout)
    assert answer["row"] == 3
    assert len(answer["tokens"]) >= answer["token_count"] > answer["trained_count"] > 0
    assert "has no row 99" in finetui("data", "show", data, "--row", 99).stderr
    assert "broken" not in finetui("data", "show", data, "--row", 13).stdout
    refused = finetui("data", "show", data, "--task", "dpo")
    assert (refused.exit_code, refused.stdout) == (2, "") and "--model" in refused.stderr
    wrong = finetui("data", "show", data, "--row", 3, "--model", model, "--task", "dpo")
    assert wrong.exit_code == 2 and "`--task chat`" in wrong.stderr


def test_stats_of_mapped_columns(finetui: Finetui, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frage,antwort\n" + "".join(f"wie {number},so\n" for number in range(20)))
    assert json.loads(finetui("data", "stats", path, "--json").stdout)["usable"] == 0
    told = finetui("data", "stats", path, "--columns", "prompt=frage, completion=antwort").stdout
    assert "20   prompt-completion" in told
    result = finetui("data", "check", path, "--columns", "prompt=frage,completion=antwort")
    assert "0 errors" in result.stderr
    assert finetui("data", "check", path, "--columns", "question=frage").exit_code == 2


def test_stats_tell_time_by_the_newest_run_of_the_model_and_money_by_a_price(
    finetui: Finetui, tmp_path: Path
) -> None:
    path, model = write(tmp_path / "rows.jsonl", *map(clean, range(20))), word_model(tmp_path / "model")
    words = ("data", "stats", path, "--model", model, "--epochs", 2, "--price", 3)
    assert "no run of this model here" in finetui(*words).stdout
    figures = json.loads(finetui(*words, "--json").stdout)
    tokens = 2 * figures["total_tokens"]
    assert figures["cost"] == {"epochs": 2, "tokens": tokens, "seconds": None, "money": tokens * 3e-6}

    for number, speed in enumerate((50.0, 200.0)):
        run = make_run(f"run{number}", model=str(model), created=T0 + number)
        with Journal(run.journal_path) as journal:
            journal.append(replace(step(1, 2), tokens_per_s=speed))
    make_run("not-begun", model=str(model), created=T0 + 2)
    make_run("other", created=T0 + 3)
    assert json.loads(finetui(*words, "--json").stdout)["cost"]["seconds"] == pytest.approx(tokens / 200)
    assert "as fast as run run1 (200 tokens/s)" in finetui(*words).stdout
