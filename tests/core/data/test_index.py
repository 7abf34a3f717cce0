"""Lines by number, of files that are small, large, growing, replaced and cut short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data import index as module
from core.data.index import LineIndex, open_index
from core.data.problems import DataError


def lines_of(path: Path) -> list[bytes]:
    index = LineIndex(path)
    index.scan()
    found = [index.raw(number) for number in range(len(index))]
    index.close()
    return found


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\n\r\nb\r\n", [b"a", b"", b"b"]),
        (b"\n\n", [b"", b""]),
    ],
)
def test_line_ends(tmp_path: Path, content: bytes, lines: list[bytes]) -> None:
    (tmp_path / "a").write_bytes(content)
    assert lines_of(tmp_path / "a") == lines


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(st.sampled_from([b"a", b"\n", b"bc\n", b"d" * 40])).map(b"".join))
def test_equal_to_reading_at_any_chunk_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 16)
    monkeypatch.setattr(module, "_FIRST_CHUNK_BYTES", 4)
    (tmp_path / "a").write_bytes(content)
    assert lines_of(tmp_path / "a") == [
        line.removesuffix(b"\n") for line in content.splitlines(keepends=True)
    ]


def test_first_lines_are_there_while_scanning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 9 + b"\n" + b"y" * 9 + b"\n" + b"z" * (4 << 20) + b"\nend")
    index = LineIndex(tmp_path / "a")
    seen: list[tuple[int, bytes]] = []
    index.scan(on_progress=lambda done, total: seen.append((len(index), index.raw(1))))
    assert seen[0] == (2, b"y" * 9)
    assert len(index) == 4
    assert index.raw(2, limit=5) == b"zzzzz"
    assert index.span(3) == (index.size - 3, index.size)


def test_a_cancelled_scan_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"line\n" * 1_000_000)
    index = LineIndex(tmp_path / "a")
    index.scan(cancelled=lambda: len(index) > 0)
    assert 0 < len(index) < 1_000_000
    assert not index.complete
    index.scan()
    assert len(index) == 1_000_000


def test_growing_replaced_and_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one\ntw")
    index = LineIndex(path)
    index.scan()
    assert index.refresh() == "same"
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert index.refresh() == "grown"
    index.scan()
    assert [index.raw(number) for number in range(len(index))] == [b"one", b"two", b"three"]
    (tmp_path / "b").write_bytes(b"other\n" * 5)
    (tmp_path / "b").replace(path)
    assert index.refresh() == "replaced"
    index.scan()
    assert [index.raw(number) for number in range(len(index))] == [b"other"] * 5
    path.write_bytes(b"OTHER and longer than before\n" * 5)
    assert index.refresh() == "replaced"
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        index.refresh()


def test_cut_underneath_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"first line\nsecond line\nthird line\n")
    index = LineIndex(path)
    index.scan()
    with path.open("r+b") as file:
        file.truncate(16)
    assert [index.raw(number) for number in range(3)] == [b"first line", b"secon", b""]
    assert index.refresh() == "replaced"


def test_unknown_lines_and_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\n")
    index = LineIndex(tmp_path / "a")
    index.scan()
    for number in (-1, 1):
        with pytest.raises(IndexError):
            index.raw(number)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(DataError):
            LineIndex(path)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
def test_lengths_are_those_of_the_spans(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    rows = [{"text": "x" * (7 * number % 50), "label": "a"} for number in range(200)]
    if ending == "csv":
        path.write_text("text,label\n" + "".join(f'"{row["text"]}\n",a\n' for row in rows).rstrip("\n"))
    else:
        path.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)))
    index = open_index(path)
    index.scan()
    spans = [index.span(number) for number in range(len(index))]
    assert len(spans) == 200
    assert index.lengths().tolist() == [end - start for start, end in spans]
