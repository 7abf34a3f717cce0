"""`finetui data show|stats`: what is trained, and what the rows are like."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tui.verbs.output import errors_told, out, out_json

if TYPE_CHECKING:
    from core.data.index import RowIndex
    from core.data.rendering import Renderer

File = Annotated[Path, typer.Argument(help="The data file.", show_default=False)]
Model = Annotated[str | None, typer.Option(help="Whose template and tokens.", show_default=False)]
Task = Annotated[
    Literal["chat", "completion", "classification", "dpo", "orpo"] | None,
    typer.Option(help="What the row is trained for; left out: what its shape is for.", show_default=False),
]
Length = Annotated[int, typer.Option(min=1, help="Tokens of a row that are trained.")]
Columns = Annotated[
    str | None,
    typer.Option(help="Which column is what, e.g. prompt=question,completion=answer.", show_default=False),
]
Template = Annotated[
    Path | None,
    typer.Option(help="A Jinja file in place of the model's own chat template.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def show(
    file: File,
    row: Annotated[int, typer.Option(min=1, help="Which row, from 1.")] = 1,
    model: Model = None,
    template: Template = None,
    task: Task = None,
    sequence_length: Length = 2048,
    columns: Columns = None,
    json: Json = False,
) -> None:
    """Print a row: its JSON, or with --model its exact text, trained stretches between brackets."""
    from core.columns import parse_columns
    from core.data.tokenview import TokenView
    from core.data.unpack import unpacked
    from core.errors import FinetuiError

    with errors_told():
        if task is not None and model is None:
            raise FinetuiError(
                "--task needs --model.",
                "A task is about which of a model's tokens are trained.",
                "Add `--model NAME`, or leave --task out.",
            )
        plain = unpacked(file)
        span = _span(plain, file, row)
        mapped = parse_columns(columns) if columns else None
        if model is None:
            _print_raw(plain, file, span)
            return
        view = TokenView(partial(_renderer, model, template), task or "", sequence_length, apart=json)
        (answer,) = view.rows(plain, str(file), [span], mapped)
        if "error" in answer:
            raise FinetuiError(**answer["error"])
        if json:
            out_json({**answer, "row": row})
        else:
            _print_tokens(answer, model, sequence_length)


def _renderer(model: str, template: Path | None, conversations: bool = True) -> Renderer:
    from core.catalog.reference import folder_here
    from core.data.files import file_error
    from core.data.rendering import Renderer

    try:
        text = template.read_text("utf-8") if template else None
    except OSError as error:
        raise file_error(template or Path(), error) from error
    return Renderer.from_folder(folder_here(model), text, conversations=conversations)


def _span(plain: Path, file: Path, row: int) -> tuple[int, int, int, int]:
    from core.data.index import open_index
    from core.errors import FinetuiError

    index: RowIndex = open_index(plain, file.name)
    try:
        index.scan()
        if row > len(index):
            raise FinetuiError(f"{file} has no row {row}.", f"It has {len(index):,}.", "Name another row.")
        return (row - 1, index.line_number(row - 1), *index.span(row - 1))
    finally:
        index.close()


def _print_raw(plain: Path, file: Path, span: tuple[int, int, int, int]) -> None:
    import json

    from core.data.files import BLANKS, open_file
    from core.data.formats import format_of
    from core.data.framing import value_of
    from core.data.index import read_span
    from core.data.problems import Place

    number, line, start, end = span
    descriptor = open_file(plain)
    try:
        raw = read_span(descriptor, plain, start, end).strip(BLANKS)
    finally:
        os.close(descriptor)
    value = value_of(raw, format_of(plain, file.name), Place(str(file), line, number + 1))
    out(json.dumps(value, indent=2, ensure_ascii=False))


def _print_tokens(answer: dict[str, Any], model: str, length: int) -> None:
    from tui.rowtext import Styles, token_lines

    for line in token_lines(answer, model, length, with_ids=False, styles=Styles.plain()):
        out(line.text.plain)


def stats(
    file: File,
    model: Model = None,
    template: Template = None,
    sequence_length: Length = 2048,
    sample: Annotated[int, typer.Option(min=1, help="Read at most so many rows, drawn by a seed.")] = 20_000,
    columns: Columns = None,
    epochs: Annotated[
        float | None, typer.Option(min=0.01, help="Times each row is used.", show_default=False)
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="Of a million trained tokens, in any currency.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Figures of the rows: turns, labels, and with --model tokens, what is cut and shared, and the cost."""
    from core.columns import parse_columns
    from core.data.statistics import measure
    from core.data.unpack import unpacked
    from tui.overview import cost_basis, stats_lines

    with errors_told():
        renderer = _renderer(model, template) if model else None
        figures = measure(
            unpacked(file), sample=sample, columns=parse_columns(columns) if columns else None,
            name=str(file), renderer=renderer, sequence_length=sequence_length,
        )  # fmt: skip
        basis = cost_basis(model, epochs, price) if model else None
        if json:
            cost = {"cost": basis.cost(figures["total_tokens"])} if basis else {}
            out_json({**figures, **cost})
            return
        for line in stats_lines(figures, sequence_length, basis):
            out(line.text.plain)
