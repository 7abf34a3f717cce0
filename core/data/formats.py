"""What kind of file holds the rows: decided by its first bytes, then by its name."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.data.files import BLANKS, file_error, open_file
from core.data.problems import DataError, Problem

HEAD_BYTES = 64 << 10
PACKED_ENDINGS = (".gz", ".gzip", ".zst", ".zstd")
_BOM = b"\xef\xbb\xbf"
_WIDE = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_PEOPLE = {
    "jsonl": "JSON Lines",
    "array": "a JSON array",
    "document": "one JSON object",
    "csv": "CSV",
    "text": "plain text",
    "parquet": "Parquet",
}

Kind = Literal["jsonl", "array", "document", "csv", "text", "parquet"]
Compression = Literal["", "gzip", "zstd"]


@dataclass(frozen=True)
class Format:
    """How a file's bytes become rows.

    Args:
        kind: `array` is one JSON array of rows, `document` one JSON object that is the only row.
        compression: of the whole file; what is inside is known once it is unpacked.
        start: bytes of a byte-order mark.
        delimiter: between the cells of CSV.
        columns: the header of CSV.
    """

    kind: Kind
    compression: Compression = ""
    start: int = 0
    delimiter: str = ","
    columns: tuple[str, ...] = ()

    @property
    def packed(self) -> bool:
        """It has to be unpacked before its rows can be found."""
        return bool(self.compression) or self.kind == "parquet"

    @property
    def name(self) -> str:
        """In words for people."""
        return self.compression if self.compression else _PEOPLE[self.kind]


def format_of(path: Path, name: str | None = None) -> Format:
    """The format of a file.

    Args:
        path: the file.
        name: what it was called, where `path` is a copy of it.

    Raises:
        DataError: it can't be read, or is in an encoding that has to be converted first.
    """
    try:
        file = open_file(path)
        try:
            head = os.pread(file, HEAD_BYTES, 0)
            whole = os.fstat(file).st_size <= len(head)
        finally:
            os.close(file)
    except OSError as error:
        raise file_error(path, error) from error
    return detect(head, name or path.name, whole)


def detect(head: bytes, name: str, whole: bool) -> Format:
    """The format of a file that begins so.

    Args:
        head: its first bytes.
        name: the file's, whose ending decides what the bytes leave open.
        whole: these are all its bytes.

    Raises:
        DataError: UTF-16 or UTF-32.
    """
    compression: Compression = (
        "gzip" if head.startswith(b"\x1f\x8b") else "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else ""
    )
    if compression:
        return Format("jsonl", compression)
    if head.startswith(b"PAR1"):
        return Format("parquet")
    _refuse_wide(head, name)
    start = len(_BOM) if head.startswith(_BOM) else 0
    text = head[start:]
    ending = _ending(name)
    kind = _json_kind(text, whole) or _kind_by_name(text, ending)
    if kind == "csv":
        delimiter, columns = _csv_header(text, ending)
        return Format("csv", "", start, delimiter, columns)
    return Format(kind, "", start)


def _ending(name: str) -> str:
    """What a name says of the rows: the suffix before those of a compression."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in PACKED_ENDINGS else path.suffix


def _refuse_wide(head: bytes, name: str) -> None:
    found = next((encoding for mark, encoding in _WIDE.items() if head.startswith(mark)), None)
    if found is None and head[:200].count(0) > len(head[:200]) // 4:
        found = "UTF-16"  # without its mark: every other byte of Latin text is zero
    if found:
        raise DataError(
            Problem(
                "not-utf-8",
                "error",
                name,
                1,
                1,
                f"the file is {found}, not UTF-8.",
                f"Convert it: iconv -f {found} -t UTF-8 {name} > rows.jsonl",
                1,
            )
        )


def _json_kind(text: bytes, whole: bool) -> Kind | None:
    """The kind of a file that begins like JSON, else None."""
    stripped = text.lstrip(BLANKS)
    if stripped[:1] not in (b"{", b"["):
        return None
    first, line_end, rest = stripped.partition(b"\n")
    first = first.strip(BLANKS)
    following = rest.lstrip(BLANKS)[:1]
    complete = _is_json(first) if line_end or whole else None
    if stripped[:1] == b"[":
        # lines that are arrays each are JSON Lines of the wrong kind; their errors name each line
        return "jsonl" if complete and following == b"[" else "array"
    if complete is False and not following.startswith(b"{") and (first == b"{" or first[-1:] in b",{["):
        return "document"
    return "jsonl"


def _is_json(text: bytes) -> bool:
    import orjson

    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _kind_by_name(text: bytes, ending: str) -> Kind:
    if ending in (".csv", ".tsv"):
        return "csv"
    if ending in (".jsonl", ".json", ".ndjson"):
        return "jsonl"
    return "text"


def _csv_header(text: bytes, ending: str) -> tuple[str, tuple[str, ...]]:
    """(delimiter, column names): the delimiter that parts the header most often."""
    sample = text.decode("utf-8", "replace")
    line = next((line for line in sample.splitlines() if line.strip()), "")
    delimiter = "\t" if ending == ".tsv" else max(",;\t|", key=line.count)
    header = next(csv.reader(iter(sample.splitlines(keepends=True)), delimiter=delimiter), [])
    return delimiter, tuple(cell.strip() for cell in header)
