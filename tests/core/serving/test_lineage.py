"""The chats of a run."""

from __future__ import annotations

from core import paths
from core.serving import lineage
from core.serving.chats import Chats
from tests.tui.made_runs import make_run


def test_chats_with_a_run_s_model_or_checkpoints_are_its_own() -> None:
    run = make_run("talked")
    assert lineage.of(run).chats == ()
    assert not (paths.data_dir() / "chats").exists()  # looking makes nothing
    chats = Chats()
    for name, a, b in (
        ("model", "talked", ""),
        ("checkpoint", "other", "talked@20"),
        ("base", "talked@base", ""),
        ("another", "talked-2", "x:talked"),
    ):
        chats.begin(name, name, a, b, {})
    assert set(lineage.of(run).chats) == {"model", "checkpoint", "base"}
    assert set(lineage.dependents(run).chats) == {"model", "checkpoint", "base"}
    chats.delete("model")
    assert set(lineage.chats_of(run)) == {"checkpoint", "base"}
