"""What can be told of a file only when all of its rows have been seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.data.check.azure import azure_row_count_problems
from core.data.check.block import MANY_LABELS, Result
from core.data.codes import CODES
from core.data.formats import Format
from core.data.problems import Place, Problem

FEW_ROWS = 10
_IMBALANCE = 10
_FEWEST_LABELLED = 50
_LABEL_SHOWN = 40


@dataclass
class FileCheck:
    """A file under check.

    Attributes:
        path: what is read; a private copy of a packed file.
        title: the file's name for messages.
        validation: it holds validation rows: few are enough, and rows of the training files are leaks.
    """

    path: Path
    title: str
    format: Format
    size: int
    validation: bool = False
    rows: int = 0
    usable: int = 0
    shapes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)

    @property
    def by_lines(self) -> bool:
        """A row's number is its line."""
        return self.format.kind in ("jsonl", "text")

    def add(self, result: Result) -> None:
        self.rows += result.rows
        self.usable += result.usable
        for shape, (rows, *first) in result.shapes.items():
            known = self.shapes.get(shape)
            self.shapes[shape] = (known[0] + rows, *known[1:]) if known else (rows, first[0], first[1])
        if len(self.labels) <= MANY_LABELS:
            self.labels.update(result.labels)

    def problems(self, azure: bool) -> Iterator[Problem]:
        """What is wrong with the file as a whole."""
        if not self.rows:
            yield Place(self.title, 0, 0).problem(
                "empty-file", "the file has no rows.", "Choose another file."
            )
            return
        if 0 < self.usable < FEW_ROWS and not self.validation:
            rows = f"{self.usable} row{'s' if self.usable != 1 else ''}"
            yield self._warning("few-rows", f"only {rows} can be used: too few to learn from.", "Add rows.")
        yield from self._mixed_shapes()
        if len(self.labels) <= MANY_LABELS:
            yield from self._label_imbalance()
        if azure:
            yield from azure_row_count_problems(self.title, self.usable)

    def _mixed_shapes(self) -> Iterator[Problem]:
        if len(self.shapes) < 2:
            return
        in_order = sorted(self.shapes.items(), key=lambda item: item[1][1])
        counts = ", ".join(f"{shape} ({rows:,})" for shape, (rows, *_) in in_order)
        _, (_, row, line) = in_order[1]
        sentence = f"the file mixes rows of {len(in_order)} shapes: {counts}; this is the first of another."
        fix = "Convert all rows to one shape: `finetui data fix` writes `messages`."
        yield self._warning("mixed-shapes", sentence, fix, line, row)

    def _label_imbalance(self) -> Iterator[Problem]:
        if len(self.labels) < 2 or self.labels.total() < _FEWEST_LABELLED:
            return
        (most, many), (least, few) = self.labels.most_common(1)[0], self.labels.most_common()[-1]
        if many >= _IMBALANCE * few:
            sentence = (
                f"the label {most[:_LABEL_SHOWN]!r} has {many:,} rows, {least[:_LABEL_SHOWN]!r} has {few:,}: "
                "the model may never learn the rare one."
            )
            yield self._warning(
                "label-imbalance", sentence, "Balance the rows, or add rows of the rare label."
            )

    def _warning(self, code: str, sentence: str, fix: str, line: int = 0, row: int = 0) -> Problem:
        return Place(self.title, line, row).problem(code, sentence, fix, severity=CODES[code].severity)
