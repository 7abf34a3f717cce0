"""A check of files: one streaming pass over blocks of rows, then what only all rows together tell."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from core.data.blocks import Block, blocks
from core.data.check.azure import azure_file_problems
from core.data.check.block import Job, Result, as_array
from core.data.check.whole import FileCheck
from core.data.codes import CODES, Tier
from core.data.formats import format_of
from core.data.problems import DataError, Place, Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from core.data.check.near import NearDuplicates
    from core.data.check.seen import Seen

IN_FULL_BYTES = 200_000_000
"""Files together no larger than this are checked in full by every tier."""

_IN_PROCESS_BYTES = 16_000_000
_BLOCK_BYTES = 4 << 20
_SMALL_BLOCK_BYTES = 1 << 20
_MOST_CORES = 16
_ROW_BITS = 40
_BY_DEFAULT: frozenset[Tier] = frozenset({"structure", "text", "near"})
_STRUCTURE: frozenset[Tier] = frozenset({"structure"})


@dataclass(frozen=True)
class Options:
    """How to check.

    Attributes:
        tiers: None: structure, text and near duplicates, tokens with a model, the service's rules with `azure`.
        model_folder: whose template and tokenizer to use.
        chat_template: its text, to use instead of the model's own.
        full: all tiers on all rows, whatever the size.
        columns: the mapping of columns, if the rows need one.
        name: what the file was called, where the path is a copy of it.
        cores: processes to use; None: one a core, and none for small files. 1: in this process.
    """

    tiers: frozenset[Tier] | None = None
    model_folder: Path | None = None
    chat_template: str | None = None
    sequence_length: int = 2048
    azure: bool = False
    full: bool = False
    columns: Mapping[str, str] | None = None
    name: str | None = None
    cores: int | None = None

    @property
    def all_tiers(self) -> frozenset[Tier]:
        """The tiers to go through; structure is always among them."""
        asked = self.tiers if self.tiers is not None else _BY_DEFAULT
        tokens: frozenset[Tier] = frozenset({"tokens"}) if self.model_folder else frozenset()
        azure: frozenset[Tier] = frozenset({"azure"}) if self.azure else frozenset()
        wanted = (asked | tokens) if self.tiers is None else (asked - {"tokens"}) | (asked & tokens)
        return wanted | _STRUCTURE | azure


class Check:
    """One pass over files: iterate for the problems; the counts are right as far as it got.

    Problems come in order of row within each file, then those of the file as a whole; near duplicates come
    last of all. Errors make a row unusable; warnings name what is probably not meant. Memory: constant, and
    16 bytes a row for duplicates (32 a row while near duplicates are compared, after that).

    Args:
        paths: the file or files. One that can't be read is a problem among several; alone it raises.
        options: how to check.
        validation: files of validation rows: a row of them that is in `paths` too is a leak.
        cancelled: asked after each block; the pass ends early when it says so.

    Raises:
        DataError: while iterating, when the only file can't be read.
        CheckError: while iterating, when a process of the check was ended from outside.
    """

    def __init__(
        self,
        paths: Sequence[Path] | Path,
        options: Options | None = None,
        validation: Sequence[Path] = (),
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self.options = options or Options()
        self._paths = [paths] if isinstance(paths, Path) else list(paths)
        self._validation = list(validation)
        self._cancelled = cancelled or (lambda: False)
        self._files: list[FileCheck] = []
        self.near_pairs: list[tuple[int, int]] = []
        """(row, earlier row) of each near duplicate within one file, both from 1."""
        self.cores = 1
        self.every = 1
        self.rows = 0
        self.conversations = 0
        self.tokens = 0
        self.bytes_read = 0
        self.total_bytes = 0
        self.codes: Counter[str] = Counter()
        self.errors = 0
        self.warnings = 0
        self._sampled = (0, 0)
        self._busy: Counter[Tier] = Counter()
        self._seconds = self._near_seconds = 0.0

    def __iter__(self) -> Iterator[Problem]:
        return (step for step in self.steps() if step is not None)

    def steps(self) -> Iterator[Problem | None]:
        """The problems, and None after each block for those who show `bytes_read` or may stop."""
        for problem in self._problems():
            if problem is not None:
                self.codes[problem.code] += 1
                if problem.severity == "error":
                    self.errors += 1
                else:
                    self.warnings += 1
            yield problem

    def counts(self) -> dict[str, Any]:
        """Rows, usable conversations, errors and warnings so far, how many of each code, and the tiers."""
        return {
            "rows": self.rows,
            "conversations": self.conversations,
            "errors": self.errors,
            "warnings": self.warnings,
            "codes": dict(self.codes),
            "tiers": self.tiers,
        }

    @property
    def tiers(self) -> dict[str, dict[str, Any]]:
        """Of each tier its rows and bytes, its share of the time, and its rate.

        The tiers run in one pass. Its time on the clock is shared out by the processors' time of each.
        """
        busy = sum(self._busy.values()) or 1.0
        answer: dict[str, dict[str, Any]] = {}
        for tier, spent in self._busy.items():
            whole = tier == "structure"
            rows, size = (self.rows, self.bytes_read) if whole else self._sampled
            seconds = self._seconds * spent / busy + (self._near_seconds if tier == "near" else 0.0)
            answer[tier] = {
                "rows": rows,
                "bytes": size,
                "seconds": seconds,
                "sampled": self.every > 1 and not whole,
                "every": 1 if whole else self.every,
                "mb_per_s": size / 1e6 / seconds if seconds else 0.0,
            }
        if "tokens" in answer:
            answer["tokens"]["tokens"] = self.tokens
        return answer

    def _problems(self) -> Iterator[Problem | None]:
        from core.data.check.near import NearDuplicates
        from core.data.check.pool import in_order

        yield from self._open_files()
        self.total_bytes = sum(file.size for file in self._files)
        self.cores = self._cores()
        if not self.options.full and self.total_bytes > IN_FULL_BYTES:
            self.every = -(-self.total_bytes // IN_FULL_BYTES)
        near = NearDuplicates() if "near" in self.options.all_tiers else None
        started = perf_counter()
        try:
            yield from self._pass(in_order(self._work(), self.cores), near, started)
            self._seconds = perf_counter() - started
            if near is not None and not self._cancelled():
                yield from self._near_duplicates(near)
        finally:
            if near is not None:
                near.close()

    def _open_files(self) -> Iterator[Problem]:
        sources = [(path, False) for path in self._paths] + [(path, True) for path in self._validation]
        for path, validation in sources:
            try:
                file = self._open(path, validation)
            except DataError as error:
                if len(sources) == 1:
                    raise
                yield error.problem
                continue
            self._files.append(file)
            if self.options.azure:
                yield from azure_file_problems(file.title, format_of(path, self.options.name), file.size)

    def _open(self, path: Path, validation: bool) -> FileCheck:
        from core.data.unpack import unpacked

        name = self.options.name
        plain = unpacked(path, cancelled=self._cancelled)
        size = plain.stat().st_size
        return FileCheck(plain, name or str(path), format_of(plain, name or path.name), size, validation)

    def _cores(self) -> int:
        if self.options.cores is not None:
            return self.options.cores
        if self.total_bytes < _IN_PROCESS_BYTES:
            return 1
        return min(len(os.sched_getaffinity(0)), _MOST_CORES)

    def _work(self) -> Iterator[tuple[Job, Block]]:
        tiers = self.options.all_tiers
        small = self.cores == 1 or "tokens" in tiers
        for number, file in enumerate(self._files):
            job = self._job(number, file, tiers)
            size = _SMALL_BLOCK_BYTES if small else _BLOCK_BYTES
            for block in blocks(file.path, file.format, size, self._cancelled):
                yield job, block

    def _job(self, number: int, file: FileCheck, tiers: frozenset[Tier]) -> Job:
        options = self.options
        columns = tuple(options.columns.items()) if options.columns is not None else None
        folder = str(options.model_folder) if options.model_folder else ""
        return Job(
            number,
            file.path,
            file.title,
            file.format,
            tiers,
            columns,
            self.every,
            folder,
            options.chat_template,
            options.sequence_length,
        )

    def _pass(
        self, results: Iterator[Result], near: NearDuplicates | None, started: float
    ) -> Iterator[Problem | None]:
        """The problems of all rows, then of each file."""
        from core.data.check.seen import Seen

        seen, done = Seen(), 0
        for result in results:
            while done < result.file:
                yield from self._files[done].problems(self.options.azure)
                done += 1
            repeated = self._repeated(result, seen, near)
            yield from sorted(result.problems + repeated, key=lambda problem: problem.row)
            self._count(result)
            self._seconds = perf_counter() - started
            yield None
            if self._cancelled():
                return
        for file in self._files[done:]:
            yield from file.problems(self.options.azure)

    def _count(self, result: Result) -> None:
        self._files[result.file].add(result)
        self.rows += result.rows
        self.conversations += result.usable
        self.tokens += result.tokens
        self.bytes_read += result.size
        self._sampled = self._sampled[0] + result.sampled[0], self._sampled[1] + result.sampled[1]
        self._busy.update(result.seconds)

    def _repeated(self, result: Result, seen: Seen, near: NearDuplicates | None) -> list[Problem]:
        """Rows of a block that were seen before; those that were not are put to the near duplicates."""
        import numpy as np

        hashes = as_array(result.hashes, np.uint64)
        places = as_array(result.places, np.uint32).reshape(-1, 2)
        base = result.file << _ROW_BITS
        first = seen.add(hashes, places[:, 0].astype(np.uint64) + np.uint64(base))
        if near is not None and result.near is not None:
            fresh = first[result.near.numbers] < 0
            where = places[result.near.numbers[fresh]]
            file = np.full((len(where), 1), result.file, np.uint32)
            near.add(np.hstack([where, file]), result.near.bits[fresh], result.near.bands[fresh])
        again = np.flatnonzero(first >= 0)
        return [self._again(result.file, places[index], int(first[index])) for index in again]

    def _again(self, number: int, place: NDArray[np.uint32], first: int) -> Problem:
        other, row = first >> _ROW_BITS, first & ((1 << _ROW_BITS) - 1)
        where = Place(self._files[number].title, int(place[1]), int(place[0]))
        if self._files[number].validation and not self._files[other].validation:
            sentence = f"this validation row is in the training rows too: {self._named(number, other, row)}."
            code, fix = "leak", "Drop it here: a score on rows the model was trained on says nothing."
        else:
            sentence = f"the same conversation as {self._named(number, other, row)}."
            code, fix = "duplicate", "Drop one of them; it would count twice."
        return where.problem(code, sentence, fix, severity=CODES[code].severity)

    def _named(self, here: int, other: int, row: int) -> str:
        """A row for a message about a row of file `here`."""
        file = self._files[other]
        if here == other:
            return f"{'line' if file.by_lines else 'row'} {row}"
        return f"{file.title}:{row}" if file.by_lines else f"row {row} of {file.title}"

    def _near_duplicates(self, near: NearDuplicates) -> Iterator[Problem]:
        started = perf_counter()
        for pair in near.pairs():
            (row, line, number), (first_row, _, other) = pair.place, pair.first
            named = self._named(number, other, first_row)
            if number == other:
                self.near_pairs.append((row, first_row))
            sentence = f"nearly the same as {named} (about {pair.similarity:.0%} of its runs of words)."
            place, severity = Place(self._files[number].title, line, row), CODES["near-duplicate"].severity
            fix = "Keep one of them, unless both are meant."
            yield place.problem("near-duplicate", sentence, fix, severity=severity)
            self._near_seconds = perf_counter() - started
        self._near_seconds = perf_counter() - started


def check_file(path: Path, limit: int | None = None, options: Options | None = None) -> list[Problem]:
    """The problems of a file in order of row, at most `limit`; of its structure alone if not told otherwise.

    Runs in this process.

    Raises:
        DataError: the file can't be read.
    """
    return list(islice(Check(path, options or Options(tiers=_STRUCTURE, cores=1)), limit))
