"""Several machines on one run: two of them, on the loopback interface, train what one would."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from core.backends.local import LocalBackend
from core.recipe import Recipe, dump
from core.training import launch
from core.training.nodes import RENDEZVOUS, NodeError, address
from core.training.plan import rows_per_step
from tests.core.training.conftest import Ask, FolderRun
from tests.core.training.test_ranks import losses, quick, server, train, weights
from tui.cli import build

MakeRecipe = Callable[..., Recipe]
ROOT = Path(__file__).parents[3]
__all__ = ["quick", "server"]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    where = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(RENDEZVOUS, where)
    return where


@contextlib.contextmanager
def second(place: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-P", "-m", "tests.core.training.second_machine", place, *launch.COMMAND]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def recorded(folder: Path, recipe: Recipe) -> FolderRun:
    """A run that another machine can see."""
    run = FolderRun(folder)
    (folder / "recipe.yaml").write_text(dump(recipe))
    return run


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_machines_equal_one(sharding: str, place: str, make_recipe: MakeRecipe, tmp_path: Path) -> None:
    common: dict[str, Any] = {"accumulation": 1, "max_steps": 4, "evaluate_every": 2}
    alone = FolderRun(tmp_path / "alone")
    train(make_recipe(batch_size=8, **common), alone)
    recipe = make_recipe(batch_size=4, nodes=2, sharding=sharding, **common)
    assert rows_per_step(recipe) == 8
    run = recorded(tmp_path / "together", recipe)
    with second(place) as other:
        outcome = train(recipe, run)
        assert other.wait(60) == 0
    assert (outcome.kind, outcome.step) == ("finished", 4)
    assert losses(run) == pytest.approx(losses(alone), rel=1e-5)
    ours, theirs = weights(run.directory / "model"), weights(alone.directory / "model")
    for name, value in theirs.items():
        assert torch.linalg.norm(ours[name] - value) <= 1e-4 * max(1e-3, torch.linalg.norm(value)), name


def test_a_stop_while_the_others_are_awaited_ends_the_run(
    place: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(nodes=2)
    run = recorded(tmp_path / "run", recipe)
    run.asked_early = True
    run.asked[4] = Ask("stop")
    assert train(recipe, run).kind == "stopped"
    assert any("waiting for 2 machines" in event.phase for event in run.of("starting"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_machine_without_the_shared_disk_says_so(
    place: str, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(nodes=2)
    run = FolderRun(tmp_path / "run")  # its recipe.yaml is missing, as if on another disk
    run.asked_early = True
    run.asked[40] = Ask("stop")
    with second(place) as other:
        train(recipe, run)
        assert other.wait(60) == 1
        assert other.stderr is not None
        assert b"does not see" in other.stderr.read()


def test_a_run_of_several_machines_needs_an_address(
    make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RENDEZVOUS, raising=False)
    (problem,) = LocalBackend().check(make_recipe(nodes=2)).errors
    assert problem.key == "nodes"
    assert "--rendezvous" in problem.fix


@pytest.mark.parametrize("text", ["", "here", ":80", "here:", "here:99999", "here:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(NodeError, match="HOST:PORT"):
        address(text)


def test_an_address_may_be_of_ipv6() -> None:
    assert address("[::1]:29500").host == "::1"


def script(tmp_path: Path, recipe: Recipe) -> str:
    file, place = tmp_path / "recipe.yaml", tmp_path / "job.sh"
    place.unlink(missing_ok=True)
    file.write_text(dump(recipe))
    result = CliRunner().invoke(build(), ["train", str(file), "--sbatch", str(place)])
    assert result.exit_code == 0, result.output
    return place.read_text()


def test_the_batch_script_is_of_the_recipe(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    text = script(tmp_path, make_recipe(name="my run", nodes=3, devices=4, grace_s=90))
    assert "#SBATCH --nodes=3" in text
    assert "#SBATCH --gpus-per-node=4" in text
    assert "#SBATCH --signal=TERM@90" in text
    assert "--job-name=my-run" in text
    assert subprocess.run(["bash", "-n"], input=text.encode(), check=False).returncode == 0
    single = script(tmp_path, make_recipe())
    assert "--rendezvous" not in single


def test_a_script_is_never_written_over_and_wants_a_recipe(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    file, place, rows = (tmp_path / name for name in ("recipe.yaml", "mine.sh", "rows.jsonl"))
    file.write_text(dump(make_recipe()))
    place.write_text("precious")
    rows.write_text("{}")
    taken = CliRunner().invoke(build(), ["train", str(file), "--sbatch", str(place)])
    assert (taken.exit_code, place.read_text()) == (2, "precious")
    assert "mine.sh exists already" in taken.stderr
    wrong = CliRunner().invoke(build(), ["train", str(rows), "--sbatch", str(tmp_path / "new.sh")])
    assert (wrong.exit_code, (tmp_path / "new.sh").exists()) == (2, False)
    assert "rows.jsonl is no recipe" in wrong.stderr and "Give a recipe (.yaml)" in wrong.stderr
    assert "named key" not in wrong.stderr


def test_the_batch_script_runs_what_it_says(make_recipe: MakeRecipe, tmp_path: Path) -> None:
    """With stand-ins for Slurm's two commands, which print what they would start."""
    text = script(tmp_path, make_recipe(name="mine", nodes=2))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in (("scontrol", "printf 'node1\\nnode2\\n'"), ("srun", 'printf "%s\\n" "$@"')):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]",
    }  # fmt: skip
    done = subprocess.run(
        ["bash"], input=text, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert done[1:3] == ["finetui", "train"]
    assert shlex.split(" ".join(done[4:])) == ["--name", "mine-7", "--go-on", "--rendezvous", "node1:20007"]


def test_machines_count_from_zero(
    make_recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_NODEID", raising=False)
    file = tmp_path / "recipe.yaml"
    file.write_text(dump(make_recipe(nodes=2)))
    words = ["train", str(file), "--rendezvous", "127.0.0.1:9"]
    for more, said in (([], "--node-rank"), (["--node-rank", "2"], "machine 2 of `nodes` 2")):
        result = CliRunner().invoke(build(), [*words, *more])
        assert result.exit_code == 2
        assert said in result.output
