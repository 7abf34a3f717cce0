"""`compare`, `show`, `clean`, and what `delete` says and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core import paths
from core.runs import supervisor, trash
from core.runs.clean import propose
from core.runs.directory import RunDirectory
from tests.core.runs.test_clean import froze, model, rows_file
from tests.core.runs.test_lineage import checkpoint, deploy, init_from
from tests.core.runs.test_trash import deleted
from tests.tui.made_runs import some_runs
from tests.tui.verbs.conftest import Finetui
from tests.tui.verbs.test_mistakes import told


@pytest.fixture
def runs() -> dict[str, RunDirectory]:
    made = some_runs()
    for step in (10, 20):
        checkpoint(made["stopped-one"], step)
    froze(made["done-one"], "a" * 64)
    init_from(made["paused-one"], "done-one@20")
    return made


# side by side


def test_runs_are_compared_as_lines_and_as_data(finetui: Finetui, runs: dict[str, RunDirectory]) -> None:
    lines = finetui("compare", "done-one", "stopped-one").stdout.splitlines()
    assert lines[0].split() == ["A", "done-one", "B", "stopped-one"]
    assert any(line.split() == ["validation", "loss", "◆", "0.9205", "0.9275"] for line in lines)
    assert "The recipes are the same." in lines
    found = json.loads(finetui("compare", "done-one", "paused-one", "--json").stdout)
    assert [run["id"] for run in found["runs"]] == ["done-one", "paused-one"]
    assert found["recipe"] == [
        {
            "field": "init_from",
            "group": "Model",
            "values": [
                {"text": "the base as it is", "set": False, "inherited": False},
                {"text": "done-one@20", "set": True, "inherited": False},
            ],
        }
    ]
    figures = {figure["name"]: figure["values"] for figure in found["figures"]}
    assert figures["step"] == [40, 12] and figures["state"] == ["finished", "paused"]


def test_mistakes_in_a_comparison(finetui: Finetui, runs: dict[str, RunDirectory]) -> None:
    told(finetui("compare", "done-one"), "1 run can't be compared")
    told(finetui("compare", "done-one", "done-one"), "named twice")
    told(finetui("compare", "done-one", "nonesuch"), "no run 'nonesuch'")


# one run


def test_a_run_is_shown_with_its_lineage(finetui: Finetui, runs: dict[str, RunDirectory]) -> None:
    deploy("support", {"models": [{"run": "done-one", "checkpoint": None}]})
    text = finetui("show", "done-one").stdout
    for words in (
        "done-one  done-one  finished",
        "data    t.jsonl, sha256 aaaaaaaa",
        "to      paused-one @20, started from it",
        "served  by the deployment support",
    ):
        assert words in text
    found = json.loads(finetui("show", "stopped-one", "--json").stdout)
    assert [item["step"] for item in found["checkpoints"]] == [10, 20]
    assert found["bytes"] == trash.folder_bytes(runs["stopped-one"].path)
    assert json.loads(finetui("show", "paused-one", "--json").stdout)["lineage"]["parent"]["id"] == "done-one"


# deleting


def test_deleting_a_run_names_who_started_from_it_and_what_is_freed(
    finetui: Finetui, runs: dict[str, RunDirectory]
) -> None:
    result = finetui("delete", "done-one", "--json")
    assert "Started from it, and keeping copies: paused-one @20." in result.stderr
    assert "finetui clean trash:done-one --yes" in result.stderr
    found = json.loads(result.stdout)
    assert [child["id"] for child in found["dependents"]["children"]] == ["paused-one"]
    assert found["dependents"]["bytes"] > 0
    assert "from    done-one @20 (in the trash)" in finetui("show", "paused-one").stdout


def test_a_served_run_and_its_checkpoint_are_refused(finetui: Finetui, runs: dict[str, RunDirectory]) -> None:
    deploy("support", {"models": [{"run": "stopped-one", "checkpoint": 10}]})
    told(finetui("delete", "stopped-one"), "stopped-one is served", "finetui undeploy support")
    told(finetui("delete", "stopped-one", "--checkpoint", 10), "step 10", "finetui undeploy support")
    assert runs["stopped-one"].path.is_dir()


def test_a_checkpoint_is_deleted_for_good(finetui: Finetui, runs: dict[str, RunDirectory]) -> None:
    size = trash.folder_bytes(runs["stopped-one"].checkpoints_dir / "step-10")
    result = finetui("delete", "stopped-one", "--checkpoint", 10, "--json")
    assert json.loads(result.stdout) == {"run": "stopped-one", "checkpoint": 10, "freed_bytes": size}
    assert "step 10 of stopped-one is gone" in result.stderr
    told(finetui("delete", "stopped-one", "--checkpoint", 10), "no checkpoint of step 10", "Kept are: 20")
    told(finetui("delete", "stopped-one", "--checkpoint", 20), "newest", "finetui delete stopped-one")


# cleaning


def test_clean_proposes_and_deletes_nothing_without_yes(
    finetui: Finetui, runs: dict[str, RunDirectory]
) -> None:
    rows = rows_file("c" * 64, 123_456)
    result = finetui("clean")
    assert result.exit_code == 0
    assert "[x]   123 kB  sha256 cccccccc" in result.stdout
    assert "checkpoint:stopped-one@10" in result.stdout
    assert all(item.why in result.stdout for item in propose())  # in a pipe nothing is cut
    assert "2 can go" in result.stderr and "`finetui clean --yes` deletes 2." in result.stderr
    assert rows.exists()
    found = json.loads(finetui("clean", "--json").stdout)
    assert (found["removed"], found["freed_bytes"]) == ([], 0)
    assert {item["id"] for item in found["items"]} == {"checkpoint:stopped-one@10", "rows:" + "c" * 16}
    assert rows.exists()


def test_clean_deletes_what_is_proposed_and_tells_the_bytes(
    finetui: Finetui, runs: dict[str, RunDirectory]
) -> None:
    rows = rows_file("c" * 64, 123_456)
    young = deleted("lost-one", 3)
    result = finetui("clean", "--yes")
    assert result.exit_code == 0
    assert f"rows:{'c' * 16}  123 kB" in result.stderr and "freed" in result.stderr.splitlines()[-1]
    assert not rows.exists() and young.path.exists()
    assert [item.step for item in runs["stopped-one"].checkpoints()] == [20]
    assert "0 of them proposed" in finetui("clean").stderr


def test_clean_takes_single_things_by_their_ids(finetui: Finetui, runs: dict[str, RunDirectory]) -> None:
    folder = model("smollm2-135m-instruct")
    gone = deleted("lost-one", 3)
    named = "model:smollm2-135m-instruct@c0ffee"
    only = finetui("clean", named)
    assert named in only.stdout and "checkpoint:" not in only.stdout
    assert f"`finetui clean {named} --yes` deletes 1." in only.stderr
    found = json.loads(finetui("clean", named, "trash:lost-one", "--yes", "--json").stdout)
    assert [item["item"] for item in found["removed"]] == [named, "trash:lost-one"]
    assert found["freed_bytes"] == sum(item["freed_bytes"] for item in found["removed"]) > 900
    assert not folder.exists() and not gone.path.exists()
    assert len(runs["stopped-one"].checkpoints()) == 2
    told(finetui("clean", "model:nonesuch", "--yes"), "nothing called 'model:nonesuch'", "finetui clean")


def test_an_empty_home_has_nothing_to_clean(finetui: Finetui) -> None:
    result = finetui("clean")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "There is nothing to clean." in result.stderr


def test_what_can_t_be_removed_ends_with_1(
    finetui: Finetui, runs: dict[str, RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_file("c" * 64)

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    result = finetui("clean", "rows:" + "c" * 16, "--yes")
    monkeypatch.undo()
    assert result.exit_code == 1
    assert "stays" in result.stderr and "not permitted" in result.stderr
    assert rows.exists()


def test_listing_the_runs_empties_the_trash_of_old_ones_only(
    finetui: Finetui, runs: dict[str, RunDirectory]
) -> None:
    old, young = deleted("done-one", 31), deleted("lost-one", 29)
    assert finetui("runs").exit_code == 0
    assert not old.path.exists() and young.path.exists()
    assert supervisor.get("lost-one", trash=True).id == "lost-one"
    assert paths.trash_dir().is_dir()
