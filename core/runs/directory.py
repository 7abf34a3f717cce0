"""A run's directory: the only truth about a run; everything else can be made from it again.

<id>/recipe.yaml  run.json  journal.jsonl  worker.log  worker.json  heartbeat  control/  data/
     checkpoints/step-N/{...,manifest.json}  model/{...,manifest.json}  report.json
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from core import paths
from core.errors import FinetuiError
from core.runs import manifest
from core.runs.locks import Lock, take

if TYPE_CHECKING:
    from core.recipe import Recipe

NAME = re.compile(r"[^\W_][\w .-]{0,79}")
RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
STEP_FOLDER = re.compile(r"step-(\d{1,12})")
PARTIAL = ".partial-"


class RunError(FinetuiError):
    """A run can't be found, or what was asked can't be done in its state."""


@dataclass(frozen=True)
class Meta:
    """`run.json`: what doesn't change while a run works. Times are UTC seconds; 0 means never.

    `queued_ns` is the run's place in the device queue: nanoseconds since the epoch of its last submit or resume.
    """

    id: str
    name: str
    created: float
    model: str
    backend: str
    version: str
    submitted_by: str
    queued_ns: int
    trashed_at: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint: its folder, the finished steps it holds and its size."""

    step: int
    path: Path
    bytes: int

    def damage(self) -> str:
        """What is wrong with its files, by their SHA-256; empty when nothing is. Reads every byte."""
        return manifest.damage(self.path)

    def verify(self) -> bool:
        """Whether every file is as it was written."""
        return not self.damage()


class _Within:
    """A path inside a run's directory, made when it is asked for: a list holds hundreds of runs."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunDirectory, owner: object = None) -> Path:
        return run.path / self._name


class RunDirectory:
    """Paths and files of one run.

    Args:
        path: the run's directory, in runs or in the trash.
    """

    recipe_path = _Within("recipe.yaml")
    meta_path = _Within("run.json")
    journal_path = _Within("journal.jsonl")
    log_path = _Within("worker.log")
    worker_path = _Within("worker.json")
    heartbeat_path = _Within("heartbeat")
    lock_path = _Within("run.lock")
    change_lock_path = _Within("change.lock")
    control_dir = _Within("control")
    data_dir = _Within("data")
    checkpoints_dir = _Within("checkpoints")
    model_dir = _Within("model")
    report_path = _Within("report.json")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name

    @classmethod
    def create(cls, recipe: Recipe, name: str | None = None) -> RunDirectory:
        """As `create_locked`, with nothing locked."""
        run, lock = cls.create_locked(recipe, name)
        lock.release()
        return run

    @classmethod
    def create_locked(cls, recipe: Recipe, name: str | None = None) -> tuple[RunDirectory, Lock]:
        """A new run directory with its frozen recipe, whose paths must be absolute.

        It appears under its id in one step, complete, or not at all.

        Args:
            recipe: what to train.
            name: the run's name; the recipe's title when None.

        Returns:
            The run, and its change lock, held since before it could be seen.

        Raises:
            RunError: the name can't be used.
            PathError: the data directory can't be written.
        """
        from core.recipe import dump

        title = checked_name(name) if name is not None else recipe.title
        runs = paths.make_private(paths.runs_dir())
        now = time.time_ns()
        meta = Meta(
            id=_new_id(title),
            name=title,
            created=now / 1e9,
            model=recipe.model,
            backend=recipe.backend or "local",
            version=_finetui_version(),
            submitted_by=f"{getpass.getuser()}@{platform.node()}",
            queued_ns=now,
        )
        aside = cls(runs / f".new-{meta.id}")
        try:
            for folder in (aside.path, aside.control_dir, aside.data_dir, aside.checkpoints_dir):
                folder.mkdir(mode=0o700)
            paths.write_private(aside.recipe_path, dump(recipe).encode())
            aside.write_meta(meta)
            lock = take(aside.change_lock_path)
            assert lock is not None  # nobody else knows the folder yet
            aside.path.rename(runs / meta.id)
        except OSError as error:
            shutil.rmtree(aside.path, ignore_errors=True)
            raise RunError(
                f"The run's directory can't be made in {runs}.",
                str(error),
                "Free space there or set FINETUI_HOME to another folder, then submit again.",
            ) from error
        return cls(runs / meta.id), lock

    @property
    def meta(self) -> Meta:
        """`run.json`, read now.

        Raises:
            RunError: it is missing or not readable as such.
        """
        try:
            record: dict[str, Any] = orjson.loads(self.meta_path.read_bytes())
            known = {item.name for item in fields(Meta)}
            return Meta(**{name: value for name, value in record.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                f"{self.path} is not a run directory.",
                f"run.json: {error}",
                "Move the folder elsewhere if it is not finetui's.",
            ) from error

    def write_meta(self, meta: Meta) -> None:
        paths.write_private(self.meta_path, orjson.dumps(asdict(meta), option=orjson.OPT_INDENT_2) + b"\n")

    def recipe(self) -> Recipe:
        """The frozen recipe.

        Raises:
            RecipeError: it doesn't fit this version.
        """
        from core.recipe import load

        return load(self.recipe_path)

    def relative(self, path: Path) -> str:
        """A path inside the run as events carry it."""
        return path.relative_to(self.path).as_posix()

    def log_tail(self, lines: int) -> list[str]:
        """The last lines of worker.log (of its last 64 KiB); empty when there is none."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - (64 << 10)))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        return text.rstrip().splitlines()[-lines:] if lines > 0 else []

    # Checkpoints

    def checkpoints(self) -> list[Checkpoint]:
        """The complete checkpoints, oldest first; their content isn't verified here."""
        found = []
        for folder in _folders(self.checkpoints_dir):
            step = STEP_FOLDER.fullmatch(folder.name)
            size = manifest.total_bytes(folder) if step else None
            if step and size is not None:
                found.append(Checkpoint(int(step[1]), folder, size))
        return sorted(found, key=lambda checkpoint: checkpoint.step)

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint whose files are as they were written, or None."""
        return next((item for item in reversed(self.checkpoints()) if item.verify()), None)

    def partial_checkpoint(self, step: int) -> Path:
        """A new, empty, private folder to write a checkpoint into."""
        return _fresh(paths.make_private(self.checkpoints_dir) / f"{PARTIAL}step-{step}")

    def publish_checkpoint(self, partial_dir: Path, step: int) -> Checkpoint:
        """Make a written checkpoint the run's: manifest, fsync, rename. On an error the folder stays aside.

        Raises:
            OSError: e.g. the disk is full.
        """
        final = self.checkpoints_dir / f"step-{step}"
        size = manifest.write(partial_dir, {"step": step})
        _replace_folder(partial_dir, final)
        return Checkpoint(step, final, size)

    def prune_checkpoints(self, keep: int, spare: int | None = None) -> list[int]:
        """Remove the oldest checkpoints but the newest `keep` (at least one stays) and that of step `spare`; returns
        the removed steps."""
        removed = [item for item in self.checkpoints()[: -max(1, keep)] if item.step != spare]
        for checkpoint in removed:
            _remove_folder(checkpoint.path)
        return [checkpoint.step for checkpoint in removed]

    def remove_checkpoint(self, step: int) -> None:
        """Remove a checkpoint for good."""
        _remove_folder(self.checkpoints_dir / f"step-{step}")

    # The model

    def partial_model(self) -> Path:
        """A new, empty, private folder to write the final model into."""
        return _fresh(self.path / f"{PARTIAL}model")

    def publish_model(self, partial_dir: Path) -> Path:
        """Make a written model the run's, in place of an earlier one: manifest, fsync, rename.

        Raises:
            OSError: e.g. the disk is full.
        """
        manifest.write(partial_dir, {})
        _replace_folder(partial_dir, self.model_dir)
        return self.model_dir

    def remove_partials(self) -> None:
        """Remove what an interrupted writing left aside: its space may be what is missing."""
        for parent in (self.path, self.checkpoints_dir):
            for folder in _folders(parent):
                if folder.name.startswith(PARTIAL):
                    shutil.rmtree(folder, ignore_errors=True)


def checked_name(name: str) -> str:
    """The name without surrounding spaces.

    Raises:
        RunError: it is empty, too long, or holds anything but letters, digits, spaces and `.`, `_`, `-`.
    """
    stripped = name.strip()
    if not NAME.fullmatch(stripped):
        raise RunError(
            f"{name!r} can't be a run's name.",
            "A name is up to 80 letters, digits, spaces, '.', '_' or '-', starting with a letter or digit.",
            "Choose another name.",
        )
    return stripped


def find(run_id: str) -> RunDirectory | None:
    """The run of an id, in runs or in the trash; None when there is none or the id is no id."""
    if not RUN_ID.fullmatch(run_id):
        return None
    for parent in (paths.runs_dir(), paths.trash_dir()):
        if (parent / run_id).is_dir():
            return RunDirectory(parent / run_id)
    return None


def all_in(parent: Path) -> list[RunDirectory]:
    """The run directories in a folder; none when the folder doesn't exist."""
    return [RunDirectory(folder) for folder in _folders(parent) if RUN_ID.fullmatch(folder.name)]


def _new_id(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "run"
    while find(run_id := f"{slug}-{secrets.token_hex(2)}"):
        pass
    return run_id


def _finetui_version() -> str:
    from importlib.metadata import version

    return version("finetui")


def _folders(parent: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(parent))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield Path(entry.path)


def _fresh(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    return folder


def _replace_folder(new: Path, final: Path) -> None:
    """Rename a folder over another; a crash leaves the old one, the new one, or for an instant none."""
    old = final.with_name(f"{PARTIAL}old-{final.name}")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
    new.rename(final)
    manifest.fsync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def _remove_folder(folder: Path) -> None:
    """Without its manifest a folder is no checkpoint, so a crash in between leaves nothing that looks whole."""
    (folder / manifest.NAME).unlink(missing_ok=True)
    shutil.rmtree(folder)
