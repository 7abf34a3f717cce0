"""Several machines on one run, and jobs that a scheduler starts again: what `finetui train` does about them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import typer

from core.command import RECIPE_SUFFIXES
from core.errors import FinetuiError
from core.recipe import Recipe, RecipeError
from tui.verbs.output import say

SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={devices}
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@{grace_s}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# Add what your cluster asks for: --partition, --account, --cpus-per-task, --mem.
# A job that is started again goes on with its own run: the name is the job's.
set -euo pipefail
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
PORT=$((20000 + SLURM_JOB_ID % 20000))
srun --kill-on-bad-exit=1 finetui train {recipe} --name "{name}-$SLURM_JOB_ID" --go-on{meeting}
"""
MEETING = ' --rendezvous "$HEAD:$PORT"'


class ClusterError(FinetuiError):
    """A batch script can't be written, or a machine can't take its part."""


def write_script(wanted: Recipe, files: list[Path], place: Path) -> None:
    """A batch script for Slurm that trains a recipe.

    Raises:
        ClusterError: there is no recipe file that the job could read, or the script's place is taken.
    """
    if files[0].suffix not in RECIPE_SUFFIXES:
        raise ClusterError(
            f"{files[0]} is no recipe, and a batch job reads one.",
            "",
            "Give a recipe (.yaml) in its place that names the file under `data`: "
            f"`finetui train RECIPE.yaml --sbatch {shlex.quote(str(place))}`.",
        )
    nodes = wanted.value("nodes")
    text = SCRIPT.format(
        name=wanted.title.replace(" ", "-"),
        nodes=nodes,
        devices=wanted.value("devices"),
        grace_s=max(60, int(wanted.value("grace_s"))),
        recipe=shlex.quote(str(files[0].absolute())),
        meeting=MEETING if nodes > 1 else "",
    )
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ClusterError(
            f"{place} exists already.", "A script is not written over.", "Remove it, or give another name."
        ) from None
    except OSError as error:
        raise ClusterError(
            f"{place} can't be written.",
            f"{error.strerror}.",
            "Name a file in a folder that you can write to.",
        ) from error
    say(
        f"Wrote {place}. Its settings are the recipe's own, without options given beside it. "
        f"`sbatch {place}` starts it."
    )


def node_number(given: int | None) -> int:
    """Which of the machines this is.

    Raises:
        ClusterError: nobody says.
    """
    text = os.environ.get("SLURM_NODEID") if given is None else str(given)
    if text is None or not text.isdecimal():
        raise ClusterError(
            "Nothing says which machine this is.",
            "",
            "Add `--node-rank 0` on the first, 1, 2 and so on elsewhere.",
        )
    return int(text)


def meet(wanted: Recipe, rendezvous: str, node_rank: int | None) -> bool:
    """Take part in a run of several machines; whether this one's part is done. The first one goes on by itself.

    Raises:
        NodeError: they can't meet.
        RecipeError: `nodes` and the numbers of the machines don't fit.
    """
    from core.training.nodes import RENDEZVOUS, address

    place, node, nodes = address(rendezvous), node_number(node_rank), wanted.value("nodes")
    if nodes == 1:
        raise RecipeError([("nodes", "`nodes` is 1, and --rendezvous is given: set `nodes`.")], "the command")
    if node >= nodes:
        raise RecipeError(
            [("nodes", f"This is machine {node} of `nodes` {nodes}; they count from 0.")], "the command"
        )
    os.environ[RENDEZVOUS] = str(place)
    if node == 0:
        return False
    raise typer.Exit(_help(wanted, rendezvous, node))


def _help(wanted: Recipe, rendezvous: str, node: int) -> int:
    """Do this machine's part; the exit code is that of the run."""
    import signal

    from core import devices
    from core.runs import supervisor
    from core.runs.devices import choose
    from core.training.launch import help_out
    from core.training.nodes import address, come
    from core.training.rank_link import RankError

    place = address(rendezvous)
    chosen = choose(wanted.device, wanted.value("devices"))
    say(f"Machine {node} waits for the first one at {place}.")
    work = come(place)
    say(f"Machine {node} works on {work.directory.name}.")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first machine hears it too, and decides for all
    if chosen[0] != "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(device.partition(":")[2] for device in chosen)
    devices.prepare_to_compute()
    failure: RankError | None = None
    try:
        help_out(work, chosen, place, node)
    except RankError as error:
        failure = error
    row = supervisor.wait(work.directory.name)
    if row.state in (
        "finished",
        "stopped",
        "paused",
    ):  # a machine may be let go while it waits for the others
        return 0
    if failure is not None:
        raise failure
    return 1


def go_on(wanted: Recipe, *, json: bool) -> bool:
    """Go on with the run of the recipe's name where there is one; whether there was."""
    from core.runs import supervisor
    from core.runs.directory import RunError
    from tui.azure_job_text import new_job
    from tui.verbs.follow import follow

    found = next((row for row in supervisor.list_runs() if row.name == wanted.title), None)
    if found is None:
        return False
    if found.state == "finished":
        say(f"{found.id} is finished already.")
        return True
    if not found.active:
        if told := new_job(found):
            raise RunError(told, "", f"`finetui resume {found.id}` asks first.")
        supervisor.resume(found.id)
    say(f"{found.id} goes on.")
    raise typer.Exit(follow(found.id, json=json))
