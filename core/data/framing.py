"""A row's bytes become its JSON object, or an error that says where and why."""

from __future__ import annotations

import csv
from typing import Any

from core.data.files import MAX_LINE_BYTES
from core.data.formats import Format
from core.data.jsontext import decode_text, kind_of, parse_json
from core.data.problems import Place

csv.field_size_limit(MAX_LINE_BYTES)


def value_of(raw: bytes, format: Format, place: Place) -> dict[str, Any]:
    """The object of one row.

    Args:
        raw: the row's bytes, with or without its line end.
        format: of its file. A CSV row is {column: cell}, a line of text {"text": line}.
        place: where it is.

    Raises:
        DataError: broken JSON, no object, no UTF-8, a blank or endless line, too many or few cells.
    """
    if format.kind == "csv":
        return _csv_row(raw, format, place)
    if format.kind == "text":
        return {"text": decode_text(raw.rstrip(b"\r\n"), place)}
    value = parse_json(raw, place)
    if not isinstance(value, dict):
        raise place.error(
            "not-an-object", f"the row is {kind_of(value)}, not a JSON object.", "Drop the row."
        )
    return value


def _csv_row(raw: bytes, format: Format, place: Place) -> dict[str, Any]:
    text = decode_text(raw, place)
    try:
        cells = next(csv.reader([text], delimiter=format.delimiter), [])
    except csv.Error as error:
        raise place.error("csv-cells", f"the record can't be read ({error}).", "Drop the row.") from error
    if len(cells) != len(format.columns):
        raise place.error(
            "csv-cells",
            f"the record has {len(cells)} cells, the header has {len(format.columns)}.",
            "Put cells that hold a delimiter or a line end in double quotes, or drop the row.",
        )
    return dict(zip(format.columns, cells, strict=True))
