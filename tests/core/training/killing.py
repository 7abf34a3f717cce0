"""A run that is killed again and again: python -P -m tests.core.training.killing RECIPE KILLS SEED.

Makes two runs of the recipe in FINETUI_HOME: `whole`, left alone, and `killed`, whose worker gets SIGKILL `KILLS`
times, each at a random moment from a random step on, and is started again. Twice its newest checkpoint is damaged in
between: torn off, and changed. Prints the steps as a JSON list.
Everything is imported once; each worker is a fork that has computed nothing yet.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

import core.training.job  # noqa: F401 - torch and the rest, once for all workers
from core.events import Event
from core.recipe import Recipe, load
from core.runs import worker
from core.runs.directory import RunDirectory
from core.runs.handle import RunHandle

LONGEST_DELAY_S = 0.15
"""Some steps and checkpoints of the tiny model, by far fewer than are left."""


def main() -> None:
    """Both runs."""
    recipe, kills, pick = load(Path(sys.argv[1])), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    assert work(make(recipe, "whole")) == 0
    run = make(recipe, "killed")
    steps = sorted(pick.sample(range(1, int(recipe.max_steps or 0) - 20), kills))
    for number, step in enumerate(steps):
        assert work(run, step, pick.uniform(0, LONGEST_DELAY_S)) == signal.SIGKILL
        if number in (kills // 3, 2 * kills // 3):
            damage(run, torn=number == kills // 3)
    assert work(run) == 0
    print(json.dumps({"steps": steps, "whole": str(find("whole")), "killed": str(find("killed"))}))  # noqa: T201


def make(recipe: Recipe, name: str) -> RunDirectory:
    return RunDirectory.create(recipe, name)


def damage(run: RunDirectory, torn: bool) -> None:
    """Tear off the end of a file of the newest checkpoint, or change it within."""
    newest = run.latest_checkpoint()
    assert newest is not None
    file = newest.path / "optimizer.pt"
    content = bytearray(file.read_bytes())
    if torn:
        del content[-100:]
    else:
        content[len(content) // 2] ^= 1
    file.write_bytes(content)


def find(name: str) -> Path:
    return next(run.path for run in all_runs() if run.meta.name == name)


def all_runs() -> list[RunDirectory]:
    from core import paths
    from core.runs import directory

    return list(directory.all_in(paths.runs_dir()))


def work(run: RunDirectory, step: int | None = None, delay_s: float = 0.0) -> int:
    """One worker, killed so long after a step if one is given; its status as `os.waitpid` has it."""
    child = os.fork()
    if not child:
        if step is not None:
            kill_after(step, delay_s)
        os._exit(worker.run(run.path))
    return os.waitpid(child, 0)[1]


def kill_after(step: int, delay_s: float) -> None:
    """Let this process kill itself so long after it has told of a step, or of a later one."""
    emit = RunHandle.emit

    def watched(self: RunHandle, event: Event) -> None:
        emit(self, event)
        if event.kind == "step" and event.step >= step:  # type: ignore[attr-defined]
            threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGKILL)).start()

    RunHandle.emit = watched  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
