"""Runs side by side: where their recipes differ, what came out, whether they learned from the same rows.

Local and remote runs alike: both write the same events. Nothing here imports torch; the table of settings (pydantic)
is imported on use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.runs import lineage, prices, supervisor
from core.runs.directory import RunDirectory, RunError
from core.runs.effective import NOT_USED, Effective, Value, text_of
from core.runs.journal import JournalReader
from core.runs.lineage import DataFile, Deployment
from core.runs.rows import RunRow
from core.runs.tally import Point, Tally

LEAST, MOST = 2, 4
LETTERS = "ABCD"
"""What the runs of a comparison are called, in the order they were named."""

PIECE_BYTES = 1 << 18
NOT_COMPARED = ("version", "name", "data")
"""Keys of a recipe that say nothing of how it trains, or are compared by content."""

NO_ROWS = ("none",)
ALWAYS_TOLD = ("training_usd",)
"""Figures that are told though no run has them: unknown is worth knowing."""


class Side:
    """One of the runs compared.

    Args:
        row: the run.
    """

    def __init__(self, row: RunRow) -> None:
        self.row = row
        self.tally = Tally()
        run = RunDirectory(row.directory)
        self.recipe = lineage.recipe_values(run)
        self.data = lineage.data_of(run)
        self.notes: list[str] = []
        self.deployments = self._deployments(run)
        self.report = self._report()
        self._reader = JournalReader(run.journal_path)

    def _deployments(self, run: RunDirectory) -> tuple[Deployment, ...]:
        try:
            return lineage.deployments_of(run)
        except RunError as error:
            self.notes.append(error.what)
            return ()

    def _report(self) -> dict[str, Any]:
        from core.training.report_file import ReportError, read

        try:
            return read(self.row.directory / "report.json")
        except ReportError as error:
            self.notes.append(f"{self.row.name}: {error.what}")
            return {}

    def read(self) -> list[Point]:
        """What the journal has got since the last call, in pieces; empty when there is nothing new."""
        events = self._reader.read(PIECE_BYTES)
        if self._reader.restarted:
            self.tally = Tally()
        return self.tally.feed(events)

    def read_all(self, take: Callable[[list[Point]], None] = lambda _: None) -> None:
        """Read to the end of the journal; `take` gets the points piece by piece."""
        before = -1
        while self._reader.offset != before:
            before = self._reader.offset
            take(self.read())

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes of the journal that were read, and all of them."""
        path = self._reader.path
        return self._reader.offset, path.stat().st_size if path.exists() else 0

    def figures(self, hour_usd: float | None) -> dict[str, Any]:
        """The run's figures by name, None where there is none; losses in nats, sizes in bytes, times in seconds.

        Args:
            hour_usd: what an hour of this machine costs, None where that is not known.
        """
        tally, row = self.tally, self.row
        summary = tally.summary
        evaluation = self.report.get("evaluation") or {}
        tuned = evaluation.get("tuned") or {}
        measured = {
            f"evaluated_{name}": value
            for name, value in tuned.items()
            if isinstance(value, int | float | None) and not isinstance(value, bool)
        }
        return {
            "state": row.state,
            "step": summary.step,
            "total_steps": summary.total_steps,
            "epochs": round(summary.epoch, 2) if summary.epoch else None,
            "loss": summary.loss,
            "best_loss": tally.best_loss,
            "eval_loss": summary.eval_loss,
            "best_eval_loss": summary.best_eval_loss,
            "best_eval_step": summary.best_eval_step or None,
            "base_eval_loss": summary.base_eval_loss,
            "perplexity": tally.perplexity,
            **{f"validation_{name}": value for name, value in tally.metrics.items()},
            "tokens_per_s": tally.tokens_per_s,
            "peak_memory_bytes": tally.peak_bytes or None,
            "duration_s": summary.worked_s or tally.seconds or None,
            "tokens": tally.tokens or None,
            "trainable_parameters": tally.trainable or None,
            **self._costs(summary.worked_s or tally.seconds, hour_usd),
            **measured,
        }

    def _costs(self, seconds: float, hour_usd: float | None) -> dict[str, float | None]:
        if self.row.backend != "local":
            return prices.of_job(self.tally.submitted)
        nodes = self.recipe.get("nodes")
        machines = nodes if isinstance(nodes, int) else 1
        return prices.of_work(seconds, machines, hour_usd, self.deployments)


@dataclass(frozen=True)
class Difference:
    """A setting that is not the same in all recipes; a value for each run, in their order."""

    field: str
    group: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Figure:
    """A figure of each run, in their order; None where a run has none."""

    name: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Comparison:
    """Two to four runs side by side.

    Attributes:
        runs: id and name of each, in the order asked for.
        recipe: the settings that differ, in the order of the form.
        figures: those that at least one run has, and what training cost.
        data: each run's files.
        same_training: whether all were trained on the same bytes; None while a run has not frozen its files.
        same_validation: the same of what they were measured on.
        losses_compare: whether a lower validation loss is a better one: the same task, base model and validation rows.
        notes: what has to be known to read the figures rightly.
    """

    runs: tuple[tuple[str, str], ...]
    recipe: tuple[Difference, ...]
    figures: tuple[Figure, ...]
    data: tuple[tuple[DataFile, ...], ...]
    same_training: bool | None
    same_validation: bool | None
    losses_compare: bool
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        runs = [{"id": run_id, "name": name} for run_id, name in self.runs]
        return {**asdict(self), "runs": runs}


def choose(refs: Sequence[str]) -> list[Side]:
    """The runs to compare; their journals are not read yet.

    Raises:
        RunError: there is no such run, a run is named twice, or there are too few or too many.
    """
    rows = [supervisor.get(ref) for ref in refs]
    ids = [row.id for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(run_id for run_id in ids if ids.count(run_id) > 1)
        raise RunError(f"{twice} is named twice.", "", "Name different runs.")
    if not LEAST <= len(rows) <= MOST:
        raise RunError(
            f"{len(rows)} run{'' if len(rows) == 1 else 's'} can't be compared.",
            f"{LEAST} to {MOST} can.",
            "`finetui runs` lists them.",
        )
    return [Side(row) for row in rows]


def comparison(sides: Sequence[Side]) -> Comparison:
    """What there is to say of runs whose journals have been read."""
    hour_usd, wrong = _hour_usd()
    training = [_digests(side.data, "training") for side in sides]
    validation = [_validation(side) for side in sides]
    same_training, same_validation = _same(training), _same(validation)
    return Comparison(
        runs=tuple((side.row.id, side.row.name) for side in sides),
        recipe=tuple(_differences(sides)),
        figures=tuple(_figures(sides, hour_usd)),
        data=tuple(side.data for side in sides),
        same_training=same_training,
        same_validation=same_validation,
        losses_compare=same_validation is not False and len(_tasks(sides)) == len(_models(sides)) == 1,
        notes=(*_notes(sides, same_training, same_validation), *wrong),
    )


# Recipes


def _differences(sides: Sequence[Side]) -> Iterable[Difference]:
    from core.recipe import fields

    effective = [Effective(side.row.directory, side.row.backend) for side in sides]
    known = {field.name for field in fields()}
    for field in fields():
        if field.name not in NOT_COMPARED:
            values = tuple(item.value(field) for item in effective)
            if len({value.text for value in values}) > 1 and not _only_backends(values):
                yield Difference(field.name, field.group, values)
    parts = tuple(Value(_data_text(side.recipe.get("data")), True) for side in sides)
    if len({value.text for value in parts}) > 1:
        yield Difference("data", "Data", parts)
    for name in sorted({key for side in sides for key in side.recipe} - known - {"version"}):
        found = tuple(Value(text_of(side.recipe.get(name)), name in side.recipe) for side in sides)
        if len({value.text for value in found}) > 1:
            yield Difference(name, "", found)


def _only_backends(values: Sequence[Value]) -> bool:
    """Whether nobody has set it, and only a backend that has no such setting makes the difference."""
    used = {value.text for value in values if value.text != NOT_USED}
    return len(used) == 1 and not any(value.set for value in values)


def _data_text(data: Any) -> str:
    """The files of a recipe by name, with what is said of them besides."""
    words = []
    for item in data if isinstance(data, list) else [data]:
        if not isinstance(item, dict):
            words.append(Path(str(item)).name)
            continue
        place = item.get("asset") or f"{item.get('hub')}/{item.get('file')}"
        name = Path(str(item["path"])).name if item.get("path") else str(place)
        rest = {key: value for key, value in item.items() if key not in ("path", "hub", "file", "asset")}
        words.append(f"{name} ({text_of(rest)})" if rest else name)
    return ", ".join(words)


# Figures and data


def _hour_usd() -> tuple[float | None, tuple[str, ...]]:
    """What an hour of this machine costs, and what is to be said where that can't be read."""
    try:
        return prices.hour_usd(), ()
    except prices.PriceError as error:
        return None, (f"{error.what} {error.next_step}",)


def _figures(sides: Sequence[Side], hour_usd: float | None) -> Iterable[Figure]:
    found = [side.figures(hour_usd) for side in sides]
    names = list(dict.fromkeys(name for figures in found for name in figures))
    for name in names:
        values = tuple(_finite(figures.get(name)) for figures in found)
        if name in ALWAYS_TOLD or any(value is not None for value in values):
            yield Figure(name, values)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _digests(data: Iterable[DataFile], use: str) -> tuple[str, ...] | None:
    """The hashes of a run's files of one use; None while they are not known."""
    found = tuple(sorted(item.sha256 for item in data if item.use == use))
    return None if "" in found else found


def _validation(side: Side) -> tuple[str, ...] | None:
    """What decides a run's validation rows: a file, or a part of the training files that the seed has chosen."""
    files = _digests(side.data, "validation")
    if files is None or files:
        return files
    fraction = side.recipe.get("validation_fraction")
    if not fraction:
        return NO_ROWS
    training = _digests(side.data, "training")
    seed = side.recipe.get("seed")
    return None if training is None else (*training, str(fraction), str(42 if seed is None else seed))


def _same(found: Sequence[tuple[str, ...] | None]) -> bool | None:
    """Whether they are all alike; None while that depends on what is not known yet."""
    known = {item for item in found if item is not None}
    return False if len(known) > 1 else None if None in found else True


def _tasks(sides: Sequence[Side]) -> set[str]:
    return {str(side.recipe.get("task") or "chat") for side in sides}


def _models(sides: Sequence[Side]) -> set[str]:
    return {side.row.model for side in sides}


def _notes(sides: Sequence[Side], same_training: bool | None, same_validation: bool | None) -> Iterable[str]:
    for side in sides:
        yield from side.notes
    if same_training is False:
        yield "They were trained on different rows."
    without = [side.row.name for side in sides if _validation(side) == NO_ROWS]
    if without and len(without) < len(sides):
        yield f"Without validation rows: {', '.join(without)}. There is no validation loss to compare."
    elif same_validation is False:
        yield "They were measured on different validation rows: their validation losses don't compare."
    if len(_tasks(sides)) > 1:
        yield "They have different tasks: their losses don't compare."
    if len(_models(sides)) > 1:
        yield "They have different base models: a loss is of a token, and their tokens may differ."
    measured = [side.report["evaluation"] for side in sides if side.report.get("evaluation")]
    if len({str((item.get("data") or {}).get("files")) + str(item.get("rows")) for item in measured}) > 1:
        yield "They were evaluated on different rows: what was evaluated doesn't compare."


def compare(refs: Sequence[str]) -> Comparison:
    """Two to four runs side by side. Reads their journals.

    Raises:
        RunError: as `choose`.
    """
    sides = choose(refs)
    for side in sides:
        side.read_all()
    return comparison(sides)
