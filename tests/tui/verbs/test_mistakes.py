"""A user's mistake ends with 2, says what, why and what next on stderr, and never shows a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.tui.verbs.conftest import Finetui


def told(result: Result, *words: str) -> None:
    """Exit 2, nothing on stdout, the words and a next step on stderr."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("finetui: ")
    assert "  Next: " in result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


@pytest.mark.parametrize("verb", ["watch", "stop", "pause", "resume", "delete", "restore", "chat"])
def test_an_unknown_run(finetui: Finetui, verb: str) -> None:
    told(finetui(verb, "nonesuch"), "no run 'nonesuch'", "finetui runs")


def test_an_unknown_run_can_t_be_renamed(finetui: Finetui) -> None:
    told(finetui("rename", "nonesuch", "other"), "no run 'nonesuch'")


@pytest.mark.parametrize(
    "words", [("runs",), ("runs", "--json"), ("watch", "x"), ("runs", "--rebuild")], ids=str
)
def test_a_home_that_can_t_be_written(
    finetui: Finetui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "file" / "home"))
    told(finetui(*words), "can't be made", "Not a directory", "FINETUI_HOME")


def test_a_recipe_that_is_not_there(finetui: Finetui, tmp_path: Path) -> None:
    for verb in ("train", "recipe"):
        told(finetui(verb, tmp_path / "gone.yaml"), "gone.yaml", "no such file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model: [", ("line 1",)),
        ("model: m\ndata: d\nrank: 0\n", ("`rank` is 0", "from 1 to 1024")),
        ("model: m\ndata: d\nrnk: 4\n", ("`rnk`", "Did you mean `rank`")),
        ("model: m\ndata: d\nrank: 4\nrank: 8\n", ("line 4", "line 3")),
        ("- 1\n", ("mapping",)),
    ],
)
def test_a_recipe_that_is_wrong(finetui: Finetui, tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    for verb in (
        ("train", file),
        ("train", file, "--check"),
        ("recipe", file),
        ("train", file, "--check", "--json"),
    ):
        told(finetui(*verb), "r.yaml", *words)


def test_two_recipes_at_once(finetui: Finetui, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("model: m\ndata: d\n")
    told(finetui("train", tmp_path / "a.yaml", tmp_path / "b.yaml"), "b.yaml")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--rank", "0", ("`rank` is 0", "from 1 to 1024")),
        ("--learning-rate", "nan", ("`learning_rate` is nan", "a number above 0")),
        ("--epochs", "-1", ("`epochs` is -1.0",)),
        ("--schedule", "steps", ("`schedule` is 'steps'", "cosine")),
        ("--device", "gpu", ("`device` is 'gpu'", "cuda:N")),
        ("--name", "../x", ("`name` is '../x'",)),
    ],
)
def test_a_wrong_option_is_told_as_in_a_recipe(
    finetui: Finetui, rows: Path, option: str, value: str, words: tuple[str, ...]
) -> None:
    told(finetui("train", rows, "--check", option, value), "the command", *words)


@pytest.mark.parametrize("words", [("--rank", "many"), ("--rnk", "4"), ("--side",)], ids=str)
def test_a_wrong_word_is_told_by_the_parser(finetui: Finetui, rows: Path, words: tuple[str, ...]) -> None:
    result = finetui("train", rows, "--check", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words[0] in result.stderr


def problems(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 2, result.output
    content = json.loads(result.stdout)
    assert content["estimate"] is None
    return [problem for problem in content["problems"] if problem["severity"] == "error"]


def test_check_tells_everything_at_once_as_data(finetui: Finetui, tmp_path: Path, rows: Path) -> None:
    rows.write_text('{"prompt": "a", "completion": "b"}\n{broken\n')
    validation = tmp_path / "validation.jsonl"
    validation.write_text("[]\n")
    result = finetui(
        "train", rows, "--check", "--json", "--model", "smollm2-135m-instrct", "--validation", validation,
        "--device", "cuda:97",
    )  # fmt: skip
    found = {problem["key"]: problem for problem in problems(result)}
    assert set(found) == {"data", "validation", "model", "device"}
    assert "rows.jsonl:2" in found["data"]["sentence"]
    assert "validation.jsonl: the file has no rows" in found["validation"]["sentence"]
    assert "smollm2-135m-instruct" in found["model"]["fix"]
    assert "cuda:97" in found["device"]["sentence"]
    assert all(problem["fix"] for problem in found.values())


@pytest.mark.parametrize("model", ["", "no such model", "/no/such/folder", "./none", "a/b/c"])
def test_a_model_that_can_t_be_starts_nothing(finetui: Finetui, rows: Path, model: str, home: Path) -> None:
    result = finetui("train", rows, "--model", model, "--detach")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "model" in result.stderr.lower()
    assert not list(home.glob("data/runs/*"))


def test_a_missing_data_file_starts_nothing(
    finetui: Finetui, tmp_path: Path, tiny_model: Path, home: Path
) -> None:
    result = finetui("train", tmp_path / "gone.jsonl", "--model", tiny_model, "--detach")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "gone.jsonl" in result.stderr
    assert "does not exist" in result.stderr
    assert not list(home.glob("data/runs/*"))


def test_what_azure_does_not_have_is_refused_by_name(finetui: Finetui, rows: Path) -> None:
    wanted = ("train", rows, "--backend", "azure", "--model", "phi-4-mini-instruct", "--rank", "8")
    result = finetui(*wanted)
    assert result.exit_code == 2
    assert "`rank` is set" in result.stderr
    assert "train locally" in result.stderr
    told(finetui("train", rows, "--backend", "azure"), "`model` is required", "phi-4-mini-instruct")


def test_a_side_that_is_none(finetui: Finetui) -> None:
    told(finetui("chat", "x", "--side", "left"), "'left'", "tuned")


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "hot"])
def test_a_temperature_that_is_none(finetui: Finetui, value: str) -> None:
    result = finetui("chat", "x", "--temperature", value)
    assert result.exit_code == 2
    assert "temperature" in result.stderr


# Data files


def check(finetui: Finetui, file: Path, content: bytes) -> Result:
    file.write_bytes(content)
    return finetui("data", "check", file)


@pytest.mark.parametrize(
    ("content", "line", "code"),
    [
        (b'{"prompt": "a", "completion": "b"}\n{"prompt": \n', 2, "json"),
        (b'{"messages": [{"role": "user", "content": "x"}]}\n', 1, "assistant"),
        (b'{"messages": [{"role": "robot", "content": "x"}]}\n', 1, "role"),
        (b'{"prompt": "a", "completion": "b"}\n\xff\xfe\n', 2, "utf"),
        (b"[1]\n", 1, ""),
    ],
)
def test_a_broken_row_is_named_by_file_and_line(
    finetui: Finetui, tmp_path: Path, content: bytes, line: int, code: str
) -> None:
    file = tmp_path / "broken.jsonl"
    result = check(finetui, file, content)
    assert result.exit_code == 2
    assert f"broken.jsonl:{line}" in result.stdout
    assert "-> " in result.stdout
    assert "1 error," in result.stderr
    data = json.loads(finetui("data", "check", "--json", file).stdout)
    assert code in data[0]["code"].lower()
    assert data[0]["line"] == line


@pytest.mark.parametrize("content", [b"", None], ids=["empty", "missing"])
def test_a_file_without_rows(finetui: Finetui, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "none.jsonl"
    if content is not None:
        file.write_bytes(content)
    result = finetui("data", "check", file)
    assert result.exit_code == 2
    assert "none.jsonl" in result.output


def test_a_file_that_is_missing_hides_no_problem_of_another(finetui: Finetui, tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text("{\n")
    result = finetui("data", "check", tmp_path / "gone.jsonl", tmp_path / "broken.jsonl")
    assert result.exit_code == 2
    assert "gone.jsonl" in result.stdout
    assert "broken.jsonl:1" in result.stdout
    assert "2 errors, 0 warnings in 2 files" in result.stderr


def test_a_folder_is_no_file_of_rows(finetui: Finetui, tmp_path: Path) -> None:
    result = finetui("data", "check", tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in result.output


def test_what_a_file_says_can_t_act_on_the_terminal(finetui: Finetui, tmp_path: Path) -> None:
    file = tmp_path / "evil.jsonl"
    row = {"messages": [{"role": "\x1b]0;owned\x07", "content": "x"}]}
    file.write_text(json.dumps(row) + "\n")
    result = finetui("data", "check", file)
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
    assert str(tmp_path) not in result.stderr
