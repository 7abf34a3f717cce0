"""Data goes to stdout and can be read by programs, narration to stderr, and no secret anywhere."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from core import events
from core.recipe import build, fields, parse
from core.runs.directory import RunDirectory
from core.runs.journal import Journal
from tests.tui.verbs.conftest import COMMAND, Finetui
from tui import cli
from tui.verbs.follow import Lines

SECRET = "hf_" + "s3cret" * 5


def make_run(tmp_path: Path, name: str, *told: events.Event) -> RunDirectory:
    rows = tmp_path / "r.jsonl"
    run = RunDirectory.create(build({"model": "smollm2-135m-instruct", "data": str(rows), "name": name}))
    with Journal(run.journal_path) as journal:
        for event in told:
            journal.append(event)
    return run


def test_no_runs_is_an_empty_list_and_a_hint(finetui: Finetui) -> None:
    result = finetui("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "finetui demo" in result.stderr
    assert json.loads(finetui("runs", "--json").stdout) == []
    assert json.loads(finetui("runs", "--trash", "--json").stdout) == []


def test_runs_are_listed_as_lines_and_as_data(finetui: Finetui, tmp_path: Path) -> None:
    first = make_run(tmp_path, "first", events.Stopped(step=3))
    second = make_run(tmp_path, "second", events.Finished(step=9, model="model"))
    lines = finetui("runs").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [second.id, first.id]
    data = json.loads(finetui("runs", "--json").stdout)
    assert [(row["id"], row["state"], row["step"]) for row in data] == [
        (second.id, "finished", 9),
        (first.id, "stopped", 3),
    ]
    assert data[0]["directory"] == str(second.path)


def test_delete_and_restore_are_narrated_and_given_as_data(finetui: Finetui, tmp_path: Path) -> None:
    run = make_run(tmp_path, "mine", events.Stopped(step=3))
    deleted = finetui("delete", "mine", "--json")
    assert deleted.exit_code == 0
    assert json.loads(deleted.stdout)["id"] == run.id
    assert f"finetui restore {run.id}" in deleted.stderr.replace("mine", run.id)
    assert finetui("runs").stdout == ""
    assert run.id in finetui("runs", "--trash").stdout
    gone = finetui("delete", "mine")
    assert gone.exit_code == 2
    assert "restore" in gone.stderr
    assert finetui("restore", "mine").exit_code == 0
    assert run.id in finetui("runs").stdout
    assert finetui("restore", "mine").exit_code == 2


def test_a_run_is_renamed(finetui: Finetui, tmp_path: Path) -> None:
    make_run(tmp_path, "old", events.Stopped(step=3))
    assert json.loads(finetui("rename", "old", "new one", "--json").stdout)["name"] == "new one"
    assert finetui("rename", "new one", "../x").exit_code == 2


def test_watching_an_ended_run_tells_its_story_and_ends(finetui: Finetui, tmp_path: Path) -> None:
    step = {
        "step": 1, "epoch": 0.5, "learning_rate": 1e-3, "tokens": 10, "trained_tokens": 5, "tokens_per_s": 7.5,
        "memory_bytes": 10**9, "duration_s": 0.1,
    }  # fmt: skip
    run = make_run(
        tmp_path,
        "story",
        events.Starting(phase="starting torch", device="cpu"),
        events.Step(**step, loss=2.0, grad_norm=0.5),
        events.Step(**{**step, "step": 2}, loss=float("nan"), grad_norm=float("inf")),
        events.Evaluated(
            step=2, loss=float("nan"), perplexity=float("inf"), rows=1, trained_tokens=1, duration_s=0.1
        ),
        events.Sampled(step=2, prompt="Hi", reply="a\x1b[31m", tokens=3),
        events.Stopped(step=2, model="model"),
    )
    result = finetui("watch", run.id)
    assert result.exit_code == 0
    assert "loss 2.0000" in result.stdout
    assert "loss not a number" in result.stdout
    assert "stopped after step 2" in result.stdout
    assert "\x1b" not in result.stdout
    told = [json.loads(line) for line in finetui("watch", run.id, "--json").stdout.splitlines()]
    assert [event["kind"] for event in told] == [
        "starting",
        "step",
        "step",
        "evaluated",
        "sampled",
        "stopped",
    ]
    assert told[2]["loss"] is None


def test_watching_a_failed_run_ends_with_1_and_its_next_step(finetui: Finetui, tmp_path: Path) -> None:
    run = make_run(tmp_path, "bad", events.Failed(what="Row 7 is too long.", cause="x", next_step="Cut it."))
    result = finetui("watch", run.id)
    assert result.exit_code == 1
    assert "Row 7 is too long." in result.stderr
    assert "Cut it." in result.stderr


def test_a_download_is_told_now_and_then() -> None:
    lines = Lines()
    told = [
        lines.of(events.Status(text="fetching", done=done, total=100, unit="bytes", time=float(done)))
        for done in range(30)
    ]
    assert [line for line in told if line] == ["fetching 0 %", "fetching 10 %", "fetching 20 %"]


def test_the_table_of_settings_as_text_and_data(finetui: Finetui) -> None:
    text = finetui("recipe").stdout
    data = json.loads(finetui("recipe", "--json").stdout)
    assert [item["name"] for item in data] == [item.name for item in fields()]
    for item in fields():
        assert f"{item.name}: {item.expected} (" in text
        assert item.help in text


def test_a_recipe_is_shown_as_it_is_understood(finetui: Finetui, tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("model: phi-4\ndata: a.jsonl\nlearning_rate: 2e-4\n")
    shown = parse(finetui("recipe", file).stdout)
    assert (shown.learning_rate, shown.data[0].path) == (2e-4, str(tmp_path / "a.jsonl"))
    assert json.loads(finetui("recipe", file, "--json").stdout)["learning_rate"] == 2e-4


def test_a_good_file_of_rows_passes(finetui: Finetui, rows: Path) -> None:
    result = finetui("data", "check", rows)
    assert result.exit_code == 0
    assert "0 errors" in result.stderr
    assert json.loads(finetui("data", "check", "--json", rows).stdout) == []


def test_check_gives_the_estimate(finetui: Finetui, rows: Path, tiny_model: Path) -> None:
    result = finetui("train", rows, "--model", tiny_model, "--max-steps", 3, "--check", "--json")
    assert result.exit_code == 0
    estimate = json.loads(result.stdout)["estimate"]
    assert (estimate["steps"], estimate["rows"]) == (3, 12)
    assert "3 steps" in finetui("train", rows, "--model", tiny_model, "--max-steps", 3, "--check").stderr


def test_the_plan_is_made_of_its_terms(finetui: Finetui, rows: Path, tiny_model: Path) -> None:
    asked = ("plan", rows, "--model", tiny_model, "--max-steps", 3, "--no-measure")
    text = finetui(*asked)
    assert text.exit_code == 0
    found = json.loads(finetui(*asked, "--json").stdout)
    sizes = found["estimate"]
    terms = [sizes[f"{name}_bytes"] for name in ("weights", "adapter", "activation", "head")]
    assert sizes["peak_bytes"] == sizes["process_bytes"] + max(sum(terms), sizes["loading_bytes"])
    assert sizes["tokens"] >= sizes["computed_tokens"] >= sizes["trained_tokens"] > 0
    assert found["time"] is None
    assert "activations of" in text.stdout
    assert text.stdout.startswith(f"model     {tiny_model}\n")


def test_a_plan_says_which_model_it_is_of_where_none_is_named(finetui: Finetui, rows: Path) -> None:
    text = finetui("plan", rows, "--no-measure")
    assert text.stdout.startswith(
        "model     smollm2-135m-instruct, since none is named: `--model` names another"
    )


def test_a_plan_measures_how_long_it_takes(finetui: Finetui, rows: Path, tiny_model: Path) -> None:
    found = json.loads(finetui("plan", rows, "--model", tiny_model, "--max-steps", 3, "--json").stdout)
    times = found["time"]
    parts = [times[f"{name}_s"] for name in ("start", "train", "evaluate", "samples", "save")]
    assert times["total_s"] == pytest.approx(sum(parts))
    assert times["tokens_per_s"] > 0


def test_a_plan_refuses_what_cannot_fit(
    finetui: Finetui, rows: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.devices.memory", lambda device: (1000, 1000))
    result = finetui("plan", rows, "--model", tiny_model)
    assert result.exit_code == 2
    assert "Too little memory" in result.stderr


def test_models_are_listed(finetui: Finetui) -> None:
    ids = [line.replace("*", "").split()[0] for line in finetui("models", "list").stdout.splitlines()]
    assert [entry["id"] for entry in json.loads(finetui("models", "list", "--json").stdout)] == ids
    assert "smollm2-135m-instruct" in ids


def test_doctor_tells_what_is_set_and_never_its_value(
    finetui: Finetui, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    text, data = finetui("doctor"), finetui("doctor", "--json")
    assert SECRET not in text.output + data.output
    assert "Hugging Face: is set" in text.stdout
    found = json.loads(data.stdout)
    assert found["tokens"]["Hugging Face"] is True
    assert found["memory_free"] <= found["memory"]
    assert found["libraries"]["torch"]
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)  # whatever the developer's own home holds
    assert "Hugging Face: none" in finetui("doctor").stdout


def test_doctor_works_where_nothing_can_be_written(
    finetui: Finetui, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "file" / "home"))
    result = finetui("doctor")
    assert result.exit_code == 0
    assert "NOT WRITABLE" in result.stdout


def test_every_verb_has_help(finetui: Finetui) -> None:
    text = finetui("--help").stdout
    assert "Exit codes" in text
    for verb in ("train", "recipe", "runs", "watch", "stop", "pause", "resume", "rename", "delete", "restore", "chat",
                 "data", "models", "doctor", "demo"):  # fmt: skip
        assert verb in text
        assert finetui(verb, "--help").exit_code == 0


def test_a_reader_that_leaves_early_is_no_error() -> None:
    with subprocess.Popen([*COMMAND, "recipe"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.close()
        assert b"Traceback" not in command.stderr.read()


def test_ctrl_c_while_modules_are_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.argv", ["finetui", "runs"])
    monkeypatch.setattr("tui.cli.build", interrupted)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
