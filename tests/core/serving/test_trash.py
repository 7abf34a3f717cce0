"""Removed deployments: what is kept of them, how they come back, and when they are gone."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core import paths
from core.runs import clean, lineage, locks
from core.serving import deployments, sockets, trash
from core.serving.chats import Chats, new_id
from core.serving.request_log import NAME, Entry, LogWriter, entries
from core.serving.settings import DeploymentError, directory_of, read_settings, write_settings
from tests.core.serving.gateways import make_settings, model

DAY_S = 24 * 3600.0


def aged(found: trash.Removed, days: float) -> trash.Removed:
    """The same, removed so many days ago."""
    target = found.directory.with_name(f"{found.name}@{int(time.time() - days * DAY_S)}")
    found.directory.rename(target)
    return trash.find(target.name)


def test_a_removed_deployment_comes_back_whole() -> None:
    settings, directory, _ = make_settings()
    with LogWriter(directory / NAME, 30) as log:
        log.add(Entry(at=time.time(), model="lamp", kind="chat", status=200))
    (directory / "models").mkdir()
    (directory / "models" / "weights").write_bytes(b"x" * 5000)
    found = trash.remove("lamp")
    assert not directory.exists() and not Path(settings.sockets).exists()
    assert deployments.all_deployments() == [] and not lineage.deployed_texts()
    assert found.models == ("lamp", "other") and found.bytes > 5000
    assert 29.9 * DAY_S < found.left_s <= 30 * DAY_S
    assert trash.all_removed() == [found] == [trash.find("lamp")]

    back = trash.restore("lamp")
    assert (back.state, back.directory) == ("stopped", directory)
    assert read_settings(directory) == replace(settings, stopped=True)  # the key's hash among the rest
    assert [entry.status for entry in entries(directory)] == [200]
    assert trash.all_removed() == []


def test_a_running_deployment_is_stopped_and_starts_again_after_it_came_back() -> None:
    with sockets.bind_tcp("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    make_settings(port=port, warm=False)
    deployments.start("lamp")
    found = trash.remove("lamp")
    assert not locks.is_held(found.directory / "gateway.lock")
    try:
        trash.restore("lamp")
        deployments.start("lamp")
        again = deployments.wait("lamp", 30)
        assert (again.state, again.port) == ("healthy", port)
    finally:
        deployments.remove("lamp")


def test_one_whose_name_is_taken_stays_until_the_other_goes() -> None:
    make_settings()
    first = trash.remove("lamp")
    make_settings(models=(model("newer"),))
    with pytest.raises(DeploymentError, match="a deployment 'lamp' by now") as refused:
        trash.restore("lamp")
    assert f"restore {first.id}" in refused.value.next_step
    second = trash.remove("lamp")
    assert trash.find("lamp") == second != first  # of two with one name the newer
    assert trash.restore(first.id).models[0].name == "lamp"


def test_one_whose_base_was_cleaned_away_says_so(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    inside = str(directory_of("lamp") / "models" / "lamp")
    make_settings(models=(model("lamp", folder=inside), model("base", kind="base", folder=str(base))))
    (directory_of("lamp") / "models" / "lamp").mkdir(parents=True)
    trash.remove("lamp")
    base.rmdir()
    with pytest.raises(DeploymentError, match="weights of base are gone") as refused:
        trash.restore("lamp")
    assert str(base) in refused.value.cause
    base.mkdir()
    assert trash.restore("lamp").name == "lamp"


def test_after_thirty_days_it_is_gone_and_before_it_is_not() -> None:
    make_settings("old")
    make_settings("young")
    old, young = aged(trash.remove("old"), 30.1), aged(trash.remove("young"), 29.9)
    left = paths.removed_deployments_dir() / ".gone-lamp@1"
    left.mkdir()  # of a removal that was interrupted
    assert trash.sweep() == {old.id: old.bytes}
    assert trash.all_removed() == [young]
    assert not left.exists() and not old.directory.exists()
    assert trash.sweep() == {}


def test_clean_lists_it_and_frees_its_bytes() -> None:
    make_settings("old")
    make_settings("young")
    (directory_of("young") / "models").write_bytes(b"x" * 9000)
    old, young = aged(trash.remove("old"), 31), trash.remove("young")
    items = {item.id: item for item in clean.propose() if item.kind == "deployment"}
    assert items[f"deployment:{old.id}"].proposed and not items[f"deployment:{young.id}"].proposed
    assert "deployments restore young@" in items[f"deployment:{young.id}"].back
    outcome = clean.remove([f"deployment:{young.id}"])[0]
    assert outcome.error is None and outcome.freed_bytes == young.bytes > 9000
    assert [item.id for item in trash.all_removed()] == [old.id]


def test_nobody_takes_it_while_another_brings_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trash, "LOCK_TIMEOUT_S", 0.1)
    make_settings()
    found = trash.remove("lamp")
    with locks.take(found.directory / "change.lock") or pytest.fail("it is free"):
        for work in (trash.restore, trash.purge):
            with pytest.raises(DeploymentError, match="another finetui"):
                work("lamp")
    assert trash.purge("lamp") == found.bytes
    with pytest.raises(DeploymentError, match="no removed deployment 'lamp'"):
        trash.restore("lamp")


def test_a_damaged_one_goes_to_the_trash_too() -> None:
    directory = paths.make_private(directory_of("lamp"))
    (directory / "deployment.json").write_text("{")
    found = trash.remove("lamp")
    assert found.models == () and not directory.exists()
    with pytest.raises(DeploymentError, match="damaged"):
        trash.restore("lamp")


def test_dependents_are_named() -> None:
    make_settings("guard")
    guarded, directory, _ = make_settings("shop")
    write_settings(
        directory, replace(guarded, safety={"kind": "guard", "deployment": "guard", "model": "lamp"})
    )
    assert trash.dependents("guard") == trash.Dependents(("shop",), ())
    assert trash.dependents("shop") == trash.Dependents((), ())
    chats = Chats()
    for title, a, b in (
        ("of it", "deployment:guard/lamp", ""),
        ("of another", "deployment:guardian/x", "run-1"),
    ):
        chats.begin(new_id(), title, a, b, {})
    assert trash.dependents("guard").chats == ("of it",)


# Sockets that nobody owns


def test_sockets_go_with_a_home_that_was_deleted_and_not_those_in_use(tmp_path: Path) -> None:
    kept = sockets.make_folder(paths.make_private(tmp_path / "here"))
    lost = sockets.make_folder(tmp_path / "gone")  # what a killed test, or a deleted home, leaves
    with sockets.bind_unix(lost / "gateway"):
        pass
    sockets.sweep()
    assert kept.is_dir() and not lost.exists()
    sockets.remove_folder(kept)


def test_sockets_unused_for_a_day_go_unless_the_gateway_runs(tmp_path: Path) -> None:
    directory = paths.make_private(tmp_path / "here")
    folder = sockets.make_folder(directory)
    old = time.time() - 2 * DAY_S
    lock = locks.take(directory / "gateway.lock")
    assert lock is not None
    with lock:
        os.utime(folder, (old, old))
        sockets.sweep()
        assert folder.is_dir()
    sockets.sweep()
    assert not folder.exists()
    assert sockets.make_folder(directory) == folder
    sockets.remove_folder(folder)
