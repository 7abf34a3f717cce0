"""New files out of a file's rows: a part kept back for validation, a sample, the same number of each label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.facts import Facts, Progress, gather, near_pairs
from core.data.problems import DataError, Problem
from core.data.repair.run import lineage
from core.data.repair.source import Source
from core.data.repair.steps import RepairError
from core.data.repair.target import Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]


@dataclass
class Prepared:
    """What was made, in rows; `left_out` could not be used (a check says why)."""

    source: str
    rows: int
    left_out: int
    written: dict[str, int]
    how: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def split_file(
    path: Path,
    train: Path,
    validation: Path,
    *,
    fraction: float | None = None,
    rows: int | None = None,
    seed: int = 42,
    group: str | None = None,
    stratify: str | None = None,
    near: bool = False,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prepared:
    """Part a file into rows to train on and rows to measure on. No row is on both sides, nor said again there.

    Args:
        path: the file; it stays as it is.
        train: where the rows to train on go, as JSON Lines.
        validation: where the others go.
        fraction: share of the usable rows for validation; or
        rows: their number. Both are met as closely as rows that belong together allow.
        seed: decides which.
        group: rows with the same value under this key (`meta.user` looks inside objects) stay on one side.
        stratify: both sides have the same shares of the values of this key, or of the rows' labels (`label`).
        near: rows that are nearly the same stay on one side too.
        columns: the mapping of columns.
        overwrite: replace targets that are there.
        on_progress: called with (bytes read, bytes in all).
        cancelled: asked now and then.

    Raises:
        RepairError: it can't be parted so.
        DataError: the file can't be read, or a target can't be written.
        Cancelled: as asked.
    """
    _refuse_split(train, validation, fraction, rows)
    source = Source(path, columns=columns, cancelled=cancelled)
    pairs = near_pairs(path, columns, cancelled) if near else ()
    facts = gather(source, group, stratify, pairs, on_progress)
    usable = len(facts.numbers)
    wanted = rows if rows is not None else round(usable * (fraction or 0))
    if not 0 < wanted < usable:
        raise RepairError(
            f"{wanted} of {usable} usable rows can't be kept for validation.",
            "Both sides need a row.",
            "Choose another share.",
        )
    kept = _for_validation(facts, wanted, seed)
    how = {"seed": seed, "group": group, "stratify": stratify, "near": near, "wanted": wanted}
    targets = {train: facts.numbers[~kept], validation: facts.numbers[kept]}
    return _write(source, targets, facts, {"split": how}, overwrite)


def sample_file(
    path: Path,
    target: Path,
    *,
    rows: int | None = None,
    seed: int = 42,
    balance: str | None = None,
    columns: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prepared:
    """A seeded sample of a file's usable rows, in their order.

    Args:
        path: the file; it stays as it is.
        target: where they go, as JSON Lines.
        rows: how many; with `balance` and without it, as many of each class as the rarest has.
        seed: decides which.
        balance: the same number of each value of this key, or of the rows' labels (`label`); a class that has too
            few gives all of them.
        columns: the mapping of columns.
        overwrite: replace a target that is there.
        on_progress: called with (bytes read, bytes in all).
        cancelled: asked now and then.

    Raises:
        RepairError: there is nothing to sample so.
        DataError: the file can't be read, or the target can't be written.
        Cancelled: as asked.
    """
    import numpy as np

    if rows is None and balance is None:
        raise RepairError("a sample needs its size.", "", "Say --rows, or --balance.")
    source = Source(path, columns=columns, cancelled=cancelled)
    facts = gather(source, None, balance, (), on_progress)
    if not len(facts.numbers):
        raise RepairError("the file has no usable rows.", "", "See `finetui data check`.")
    shares = _shares(np.bincount(facts.labels), rows)
    order = np.random.default_rng(seed).permutation(len(facts.numbers))
    chosen = [order[facts.labels[order] == label][:many] for label, many in enumerate(shares)]
    numbers = facts.numbers[np.sort(np.concatenate(chosen))]
    how: dict[str, Any] = {"seed": seed, "rows": rows, "balance": balance}
    if balance:
        how["classes"] = dict(zip(facts.names, shares, strict=True))
    return _write(source, {target: numbers}, facts, {"sample": how}, overwrite)


def _refuse_split(train: Path, validation: Path, fraction: float | None, rows: int | None) -> None:
    if train == validation:
        raise RepairError("both sides would go to one file.", "", "Name two files.")
    if (fraction is None) == (rows is None):
        raise RepairError("the split needs its size.", "", "Say --fraction or --rows, one of them.")


# Which rows


def _for_validation(facts: Facts, wanted: int, seed: int) -> NDArray[np.bool_]:
    """Units in a seeded order go to validation, class by class, while they fit."""
    import numpy as np

    firsts, inverse, sizes = np.unique(facts.units, return_inverse=True, return_counts=True)
    classes = facts.labels[firsts]
    order = np.random.default_rng(seed).permutation(len(firsts))
    kept = np.zeros(len(firsts), bool)
    in_class = np.bincount(classes, weights=sizes).astype(np.int64)
    left = _portions(in_class, wanted)
    for unit in order.tolist():
        size = int(sizes[unit])
        if size <= left[classes[unit]]:
            left[classes[unit]] -= size
            kept[unit] = True
    rest = sum(left)
    for unit in order.tolist():  # what groups left open, whatever the class
        if not kept[unit] and int(sizes[unit]) <= rest:
            rest -= int(sizes[unit])
            kept[unit] = True
    answer: NDArray[np.bool_] = kept[inverse]
    return answer


def _portions(sizes: Numbers, wanted: int) -> list[int]:
    """`wanted` shared out by size, each within one of its exact share: largest remainders first."""
    total = int(sizes.sum())
    exact = [wanted * int(size) / total for size in sizes]
    portions = [int(share) for share in exact]
    by_rest = sorted(range(len(exact)), key=lambda place: (portions[place] - exact[place], place))
    for place in by_rest[: wanted - sum(portions)]:
        portions[place] += 1
    return portions


def _shares(sizes: Numbers, rows: int | None) -> list[int]:
    """How many rows of each class: as equal as the sizes allow; without `rows` all that is equal."""
    if rows is None:
        return [int(sizes.min())] * len(sizes)
    shares = [0] * len(sizes)
    left = min(rows, int(sizes.sum()))
    while left:
        open_ = [place for place, size in enumerate(sizes) if shares[place] < size]
        each = max(1, left // len(open_))
        for place in open_:
            more = min(each, int(sizes[place]) - shares[place], left)
            shares[place] += more
            left -= more
    return shares


# Writing


def _write(
    source: Source, targets: Mapping[Path, Numbers], facts: Facts, how: dict[str, Any], overwrite: bool
) -> Prepared:
    """A second pass: each chosen row goes to its file. All files are complete, or none is there."""
    from contextlib import ExitStack

    import numpy as np

    last = int(facts.numbers[-1]) + 1
    goes_to = np.full(last, -1, np.int8)
    for place, numbers in enumerate(targets.values()):
        goes_to[numbers] = place
    report = Prepared(str(source.path), facts.rows, facts.rows - len(facts.numbers), {}, how)
    with ExitStack() as stack:
        files = [stack.enter_context(Target(path, [source.path], overwrite)) for path in targets]
        for row in source.rows():
            number = row.place.row
            if number < last and goes_to[number] >= 0:
                line = source.as_line(row)
                files[goes_to[number]].add(line if line.endswith(b"\n") else line + b"\n")
        report.written = {str(file.path): file.rows for file in files}
        if sum(report.written.values()) != sum(map(len, targets.values())):
            raise _changed(source)
        record = lineage(source, report.as_dict())
        for file in files:
            file.finish({**record, "target": str(file.path)})
    return report


def _changed(source: Source) -> DataError:
    sentence, fix = "the file changes while it is read.", "Try again when it is at rest."
    return DataError(Problem("unreadable", "error", source.title, 0, None, sentence, fix))
