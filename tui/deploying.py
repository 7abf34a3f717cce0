"""Deploying a run from the app: the command `finetui deploy`, started in a session of its own, and how it goes.

It is a process rather than a part of the app because merging needs torch, and a session of its own because it may take
minutes: a lost connection does not end it. What it says goes to a file, so that it never waits for a reader. The key
comes through a pipe and is written nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from core.errors import FinetuiError
from tui.format import duration, one_line

if TYPE_CHECKING:
    from core.runs.rows import RunRow
    from tui.app import FinetuiApp

COMMAND: tuple[str, ...] = (sys.executable, "-P", "-c", "from tui.cli import main; main()")
LOOK_S = 0.25
TAIL_BYTES = 1 << 14
PARTS = ("finetui: ", "  Cause: ", "  Next:  ")
"""How a command tells an error's three parts."""


class DeployError(FinetuiError):
    """A deployment was not made."""


@dataclass(frozen=True)
class Order:
    """What is to be deployed, and how.

    Args:
        run: its id.
        name: of the deployment.
        with_base: the base is served beside it.
        port: None for the first free one.
        safety: what `--safety` takes: `off`, `azure`, a file, or `guard:NAME/MODEL`.
        keep_texts: prompts and replies are kept in the request log.
        check: refusals are compared with the base's first.
    """

    run: str
    name: str
    with_base: bool = False
    port: int | None = None
    safety: str = "off"
    keep_texts: bool = False
    check: bool = True

    def words(self) -> list[str]:
        """The command's words, without the program's."""
        words = ["deploy", self.run, "--name", self.name]
        words += ["--with-base"] if self.with_base else []
        words += ["--port", str(self.port)] if self.port is not None else []
        words += ["--safety", self.safety] if self.safety != "off" else []
        words += ["--keep-texts"] if self.keep_texts else []
        return words if self.check else [*words, "--skip-check"]

    def command(self) -> str:
        """What does the same in a shell."""
        return shlex.join(["finetui", *self.words()])


@dataclass(frozen=True)
class Made:
    """A deployment that was made.

    Attributes:
        name: its own.
        url: what clients take as `base_url`.
        key: to be shown once.
        notes: what the user should know, a sentence each.
    """

    name: str
    url: str
    key: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Made({self.name!r})"  # a key must not get into a log by chance


@dataclass(frozen=True)
class Offer:
    """What the dialog starts with: a name that is free, the names that are not, models that could be a guard."""

    name: str
    taken: frozenset[str]
    guards: tuple[str, ...]


def offer(row: RunRow) -> Offer:
    """What can be said before a run is deployed. Reads the deployments; for threads."""
    from core.serving import deployments

    there = deployments.all_deployments()
    taken = frozenset(item.name for item in there)
    plain = re.sub(r"[^a-z0-9._-]+", "-", row.name.lower()).strip("-._")[:36].strip("-._") or "model"
    names = (plain, *(f"{plain}-{number}" for number in range(2, len(taken) + 3)))
    guards = tuple(f"{item.name}/{model.name}" for item in there for model in item.models if model.chat)
    return Offer(next(name for name in names if name not in taken), taken, guards)


def read_failure(text: str, log: Path) -> DeployError:
    """The error that a command's last words tell.

    Args:
        text: what it said.
        log: where that is kept.
    """
    lines = text.rstrip().splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith(PARTS[0])]
    if not starts:
        last = lines[-1] if lines else "It said nothing."
        return DeployError("The deployment was not made.", last, f"What it said is in {log}.")
    found = {head: [] for head in PARTS}  # type: dict[str, list[str]]
    part = PARTS[0]
    for line in lines[starts[-1] :]:
        part = next((head for head in PARTS if line.startswith(head)), part)
        found[part].append(line.removeprefix(part))
    what, cause, next_step = ("\n".join(found[head]) for head in PARTS)
    return DeployError(what, cause, next_step)


class Deploys:
    """What the app deploys, one at a time: each merges weights and may load two models.

    Attributes:
        name: of the deployment that is being made, else empty.
        phase: what is being done.
        listeners: called when one of both changes.
    """

    def __init__(self) -> None:
        self.name = ""
        self.phase = ""
        self.listeners: list[Callable[[], None]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._passed_s = 0

    @property
    def words(self) -> str:
        """What is going on, and for how long, in a line; empty when nothing is."""
        phase = one_line(self.phase).removeprefix(f"{self.name}: ")
        return f"deploying {self.name}: {phase}, {duration(self._passed_s)}" if self.name else ""

    def begin(self, order: Order, app: FinetuiApp) -> None:
        """Deploy in the background; the app shows the key when it is done, or what went wrong."""
        if not self.name:
            self._stopped, self._passed_s = False, 0
            self._say("starting", order.name)
            app.run_worker(self._deploy(order, app), group="deploy")

    def stop(self) -> None:
        """Give up what is being deployed; it takes away what it has made."""
        if self._process is not None and self._process.poll() is None:
            self._stopped = True
            self._process.send_signal(signal.SIGINT)
            self._say("giving up")

    def _say(self, phase: str, name: str | None = None) -> None:
        self.name = self.name if name is None else name
        self.phase = phase
        for listener in list(self.listeners):
            listener()

    def _tell(self, phase: str, passed_s: int) -> None:
        """Say how it goes, if that is news."""
        phase = self.phase if self._stopped else phase
        if (phase, passed_s) != (self.phase, self._passed_s):
            self._passed_s = passed_s
            self._say(phase)

    async def _deploy(self, order: Order, app: FinetuiApp) -> None:
        from tui.widgets.deploydialog import KeyDialog

        try:
            made = await self._work(order)
        except FinetuiError as error:
            app.show_error(error)
        else:
            if made is not None:
                app.push_screen(KeyDialog(made))
        finally:
            self._process = None
            self._say("", "")

    async def _work(self, order: Order) -> Made | None:
        """Run the command until it has told the key; None when it was given up.

        What comes after, the loading of the models, is seen in the list of deployments.
        """
        from core import paths

        log = paths.make_private(paths.logs_dir()) / f"deploy-{order.name}.log"
        process = self._process = _start(order, log)
        assert process.stdout is not None
        said, began = b"", time.monotonic()
        with process.stdout as pipe:
            os.set_blocking(pipe.fileno(), False)
            while b"\n" not in said:
                ended = process.poll() is not None
                while piece := pipe.read(1 << 16):
                    said += piece
                if ended:
                    break
                self._tell(_last_line(log) or "starting", int(time.monotonic() - began))
                await asyncio.sleep(LOOK_S)
        line, newline, _ = said.partition(b"\n")
        if newline:
            return await asyncio.to_thread(_read_made, line)
        if self._stopped:
            return None
        raise read_failure(_tail(log), log)


def _start(order: Order, log: Path) -> subprocess.Popen[bytes]:
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as errors:
            return subprocess.Popen(
                (*COMMAND, *order.words(), "--json"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
    except OSError as error:
        raise DeployError(
            "The deployment can't be begun.",
            str(error),
            "Free what is missing (disk, processes), then try again.",
        ) from error


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        return file.read().decode("utf-8", "replace")


def _last_line(log: Path) -> str:
    """The last whole line of what was said, without its dots."""
    lines = [line for line in _tail(log).rpartition("\n")[0].splitlines() if line.strip()]
    return lines[-1].removesuffix(" ...") if lines else ""


def _read_made(line: bytes) -> Made:
    made: dict[str, Any] = orjson.loads(line)
    notes = []
    if found := made["settings"]["regression"]:
        from core.serving.regression import sentence

        notes = [f"{model}: {sentence(result)}" for model, result in found.items()]
    return Made(made["name"], made["url"], made["key"], tuple(notes))


def folder_bytes(folder: Path) -> int:
    """What a directory takes on the disk."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a log that was just renamed
            total += path.lstat().st_size if not path.is_dir() else 0
    return total
