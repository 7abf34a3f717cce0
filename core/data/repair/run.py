"""Steps on the rows of a file: what they would change, and the new file they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

from core.data.check import Check
from core.data.check import Options as CheckOptions
from core.data.codes import CODES, Tier
from core.data.problems import DataError
from core.data.repair.change import Dropped, apply
from core.data.repair.source import RawRow, Source, dumped
from core.data.repair.steps import WHOLE_FILE, Step, refuse_bad
from core.data.repair.target import Target

_REPORT_BYTES = 1 << 20


@dataclass(frozen=True)
class Context:
    """What steps may need to know beside the file.

    Attributes:
        columns: the mapping of its columns.
        model_folder: the model whose problems are repaired.
        chat_template: its text, instead of the model's own.
        sequence_length: for problems of length.
        against: files whose rows must not be in this one: leaks are dropped from here.
    """

    columns: Mapping[str, str] | None = None
    model_folder: Path | None = None
    chat_template: str | None = None
    sequence_length: int = 2048
    against: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Change:
    """What becomes of a row.

    Attributes:
        row: its number, from 1; `line` is where it starts.
        before: its object; None where it is no JSON.
        raw: its text in the file.
        after: its object; None where it is dropped.
    """

    row: int
    line: int
    before: dict[str, Any] | None
    raw: str
    after: dict[str, Any] | None


@dataclass
class Report:
    """What was done, in rows."""

    source: str
    target: str
    rows: int = 0
    changed: int = 0
    dropped: int = 0
    written: int = 0
    steps: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def preview(
    path: Path,
    steps: Sequence[Step],
    limit: int,
    context: Context | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Change]:
    """The first rows that the steps would change, at most `limit`.

    Raises:
        RepairError: steps that mean nothing.
        DataError: the file can't be read.
        Cancelled: as asked.
    """
    work = _Work(path, steps, context or Context(), cancelled)
    shown = 0
    for outcome in work.outcomes():
        if shown == limit:
            return
        if outcome.kind != "same":
            shown += 1
            place = outcome.row.place
            raw = outcome.row.raw.decode("utf-8", "backslashreplace")
            yield Change(place.row, place.line, outcome.before, raw, outcome.after)


def write(
    path: Path,
    steps: Sequence[Step],
    target: Path,
    context: Context | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Report:
    """Do the steps and write the rows as JSON Lines to a new file, with its lineage beside it. The source stays.

    Args:
        path: the file.
        steps: in order.
        target: the new file; `<target>.lineage.json` says what it was made of.
        context: what steps may need to know.
        overwrite: replace a target that is there.
        on_progress: called with (bytes read, bytes in all).
        cancelled: asked now and then.

    Raises:
        RepairError: steps that mean nothing, a target that is there or is the source.
        DataError: the file can't be read, or changes meanwhile; the target can't be written.
        Cancelled: as asked; nothing was written.
    """
    work = _Work(path, steps, context or Context(), cancelled)
    report = Report(str(path), str(target), steps=[step.as_dict() for step in steps])
    with Target(target, [path], overwrite) as file:
        file.write(work.source.opening)
        told = 0
        for outcome in work.outcomes():
            report.rows += 1
            report.dropped += outcome.kind == "dropped"
            report.changed += outcome.kind == "changed"
            if outcome.kind == "same":
                line = work.source.as_line(outcome.row)
                file.add(line if line.endswith(b"\n") else line + b"\n")
            elif outcome.after is not None:
                file.add(dumped(outcome.after) + b"\n")
            if on_progress and outcome.row.position - told >= _REPORT_BYTES:
                told = outcome.row.position
                on_progress(told, work.source.size)
        report.written = file.rows
        file.finish(lineage(work.source, report.as_dict()))
    return report


def lineage(source: Source, what: dict[str, Any]) -> dict[str, Any]:
    """The record of how a file was made; the target's own hash is added by `Target.finish`."""
    return {
        "made_by": f"finetui {version('finetui')}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "source_sha256": source.sha256(),
        **what,
    }


class _Outcome(NamedTuple):
    """What becomes of a row: its object before and after; None before where there is none or nobody looked."""

    kind: Literal["same", "changed", "dropped"]
    row: RawRow
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class _Work:
    """Steps on the rows of one file."""

    def __init__(
        self, path: Path, steps: Sequence[Step], context: Context, cancelled: Callable[[], bool] | None
    ) -> None:
        refuse_bad(steps, renders=context.model_folder is not None, compares=bool(context.against))
        self.source = Source(path, columns=context.columns, cancelled=cancelled)
        self._cancelled = cancelled or (lambda: False)
        self._context = context
        self._steps = steps
        self._chosen = self._rows_of_steps()

    def outcomes(self) -> Iterator[_Outcome]:
        """What becomes of each row that is not blank."""
        for row in self.source.rows():
            if row.blank:
                continue
            number = row.place.row
            steps = [
                step
                for step, chosen in zip(self._steps, self._chosen, strict=True)
                if chosen is None or (number < len(chosen) and chosen[number])
            ]
            yield self._outcome(row, steps) if steps else _Outcome("same", row, None, None)

    def _outcome(self, row: RawRow, steps: Sequence[Step]) -> _Outcome:
        before = value = self._value(row)
        for step in steps:
            try:
                if value is None and step.repair == "re-encode":
                    value = self._value(row._replace(raw=_decoded(row.raw)))
                elif value is not None or step.repair in ("drop", "deduplicate", "edit"):
                    value = apply(step, value or {}, self.source.columns, row.place)
            except Dropped:
                return _Outcome("dropped", row, before, None)
        return _Outcome("same" if value == before else "changed", row, before, value)

    def _value(self, row: RawRow) -> dict[str, Any] | None:
        try:
            return self.source.value(row)
        except DataError:
            return None

    def _rows_of_steps(self) -> list[bytearray | None]:
        """For each step the rows it is for, by number; None for all."""
        codes = {code for step in self._steps for code in _asked(step)} - WHOLE_FILE
        found = self._find(codes) if codes else {}
        return [_chosen(step, found) for step in self._steps]

    def _find(self, codes: set[str]) -> dict[str, list[int]]:
        """The rows with each of these problems, ascending."""
        context = self._context
        tiers: frozenset[Tier] = frozenset(CODES[code].tier for code in codes)
        options = CheckOptions(
            tiers=tiers,
            model_folder=context.model_folder if "tokens" in tiers else None,
            chat_template=context.chat_template,
            sequence_length=context.sequence_length,
            azure="azure" in tiers,
            full=True,
            columns=context.columns,
        )
        others = context.against if "leak" in codes else ()
        mine = self.source.path
        check = Check(
            list(others) or mine, options, validation=[mine] if others else (), cancelled=self._cancelled
        )
        found: dict[str, list[int]] = {code: [] for code in codes}
        for problem in check:
            if problem.code in found and problem.path == str(mine) and problem.row:
                found[problem.code].append(problem.row)
        return {code: sorted(rows) for code, rows in found.items()}


def _chosen(step: Step, found: Mapping[str, Sequence[int]]) -> bytearray | None:
    """A byte for each row up to the last chosen one: 1 for those that a step is for; None: for all."""
    codes = _asked(step)
    whole = not codes or bool(set(codes) & WHOLE_FILE)
    if step.rows is None and whole:
        return None
    rows = set(step.rows or ()) if whole else {row for code in codes for row in found[code]}
    if step.rows is not None:
        rows &= set(step.rows)
    chosen = bytearray(max(rows, default=0) + 1)
    for row in rows:
        chosen[row] = 1
    return chosen


def _asked(step: Step) -> tuple[str, ...]:
    """The problems whose rows a step is for; without any, duplicates are what `deduplicate` is for."""
    return (
        ("duplicate",)
        if step.repair == "deduplicate" and not step.codes and step.rows is None
        else step.codes
    )


def _decoded(raw: bytes) -> bytes:
    """Bytes of Windows-1252 as UTF-8; the few that it has no character for as Latin-1 has them."""
    try:
        return raw.decode("cp1252").encode()
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode()
