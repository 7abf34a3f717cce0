"""Every kind of file is known by what is in it, and its rows are found and read exactly."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data import index as index_module
from core.data import unpack
from core.data.formats import detect, format_of
from core.data.framing import value_of
from core.data.index import LineIndex, open_index
from core.data.problems import DataError, Place, Problem
from core.data.rows import read_rows, read_values
from core.data.unpack import unpacked

ROW = {
    "messages": [
        {"role": "user", "content": 'Hi,\n[you] "there"'},
        {"role": "assistant", "content": "{Hello"},
    ]
}
LINE = json.dumps(ROW).encode()
PRETTY = json.dumps([ROW, ROW], indent=2).encode()


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        (LINE + b"\n" + LINE, "a.jsonl", "jsonl"),
        (LINE + b"\n" + LINE, "a.json", "jsonl"),
        (LINE, "a.json", "jsonl"),
        (PRETTY, "a.jsonl", "array"),
        (json.dumps([ROW]).encode(), "a.json", "array"),
        (b'[{"a": 1},\n{"a": 2}]', "rows", "array"),
        (json.dumps(ROW, indent=1).encode(), "a.json", "document"),
        (b"question,answer\r\nWhy?,So.\r\n", "a.csv", "csv"),
        (b"question\tanswer\n", "a.tsv", "csv"),
        (b"Once upon a time.\n", "a.txt", "text"),
        (b"{broken\n" + LINE, "a.jsonl", "jsonl"),
        (b"no JSON at all", "a.jsonl", "jsonl"),
        (b"", "a.jsonl", "jsonl"),
        (b"\xef\xbb\xbf" + LINE, "a.jsonl", "jsonl"),
        (b"PAR1....", "a", "parquet"),
    ],
)
def test_the_kind_of_a_file(content: bytes, name: str, kind: str) -> None:
    format = detect(content, name, whole=True)
    assert (format.kind, format.compression) == (kind, "")
    assert format.start == (3 if content.startswith(b"\xef\xbb\xbf") else 0)


def test_csv_has_a_delimiter_and_columns() -> None:
    assert detect(b"a;b;c\n1;2;3", "x.csv", True).delimiter == ";"
    assert detect(b'"a, 1",b\n', "x.csv", True).columns == ("a, 1", "b")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_wide_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE.decode().encode(encoding))
    with pytest.raises(DataError, match=r"UTF-(16|32), not UTF-8") as error:
        format_of(tmp_path / "a.jsonl")
    assert "iconv" in error.value.next_step


def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINE + b"\n" + LINE.replace(b"Hello", b"caf\xe9") + b"\n" + LINE)
    items = list(read_rows(tmp_path / "a.jsonl"))
    assert [isinstance(item, Problem) for item in items] == [False, True, False]
    problem = items[1]
    assert isinstance(problem, Problem)
    assert (problem.code, problem.line, problem.column) == ("not-utf-8", 2, LINE.index(b"Hello") + 4)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
SAME_FOLDER = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SAME_FOLDER
@given(
    rows=st.lists(
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), JSON), min_size=1, max_size=6
    ),
    indent=st.sampled_from([None, 1, 2]),
    chunk=st.integers(1, 40),
    ascii_only=st.booleans(),
)
def test_an_array_s_elements_are_found_whatever_the_chunks(
    tmp_path: Path, rows: list[Any], indent: int | None, chunk: int, ascii_only: bool
) -> None:
    path = tmp_path / "a.json"
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "CHUNK_BYTES", chunk)
        patch.setattr(index_module, "_FIRST_CHUNK_BYTES", chunk)
        index = open_index(path)
        index.scan()
    assert [json.loads(index.raw(number)) for number in range(len(index))] == rows
    for number in range(len(index)):
        start = text.index(index.raw(number), index.span(number)[0])
        assert index.line_number(number) == 1 + text[:start].count(b"\n")
    index.close()


@SAME_FOLDER
@given(
    rows=st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)] * 2).filter(
            any
        ),
        max_size=6,
    ),
    chunk=st.integers(1, 40),
)
def test_csv_records_are_those_of_the_csv_module(
    tmp_path: Path, rows: list[tuple[str, str]], chunk: int
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("a", "b"), *rows])
    path = tmp_path / "a.csv"
    path.write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "CHUNK_BYTES", chunk)
        patch.setattr(index_module, "_FIRST_CHUNK_BYTES", chunk)
        index = open_index(path)
        index.scan()
    values = [value_of(index.raw(number), index.format, Place("a", 1, 1)) for number in range(len(index))]
    index.close()
    assert values == [{"a": one, "b": two} for one, two in rows]


@SAME_FOLDER
@given(
    content=st.binary(max_size=200) | st.text('[]{}",:\\ \n\t1a', max_size=120).map(str.encode),
    name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.txt", "a"]),
)
def test_no_bytes_crash_the_reader(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        places = [place for place, _ in read_values(path)]
    except DataError:
        return
    assert [place.row for place in places] == sorted({place.row for place in places})
    assert all(place.line <= content.count(b"\n") + 1 for place in places)


@pytest.mark.parametrize("content", [PRETTY[:-40], PRETTY + b"[3]", b'[{"a": 1}, {"b": ]', b"[1, 2"])
def test_a_broken_array_gives_its_good_rows_and_a_problem(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    values = [value for _, value in read_values(path)]
    problems = [value for value in values if isinstance(value, Problem)]
    assert problems
    assert all(problem.line > 0 for problem in problems)
    assert content.startswith(b"[1") or any(isinstance(value, dict) for value in values)


def test_columns_in_several_lines_and_wrong_cells(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,answer\n"two\nlines","a ""quote"""\n\nonly one\nWhy?,So.\n')
    items = list(read_values(path))
    assert [(place.line, place.row) for place, _ in items] == [(2, 1), (5, 2), (6, 3)]
    assert items[0][1] == {"question": "two\nlines", "answer": 'a "quote"'}
    assert isinstance(items[1][1], Problem)
    assert items[1][1].code == "csv-cells"


def test_one_object_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROW, indent=2))
    assert [value for _, value in read_values(path)] == [ROW]


def test_broken_json_in_a_pretty_array_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n  {"a": 1},\n  {\n    "b": 2,\n    "c" 3\n  }\n]')
    problem = list(read_values(path))[1][1]
    assert isinstance(problem, Problem)
    assert (problem.code, problem.line, problem.column, problem.row) == ("broken-json", 5, 9, 2)


# -- packed files


def rows_of(path: Path) -> list[Any]:
    return [value for _, value in read_values(unpacked(path))]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "home"))


def test_gzip_with_two_members(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINE + b"\n") + gzip.compress(LINE))
    seen: list[tuple[int, int]] = []
    copy = unpacked(path, lambda done, total: seen.append((done, total)))
    assert [value for _, value in read_values(copy)] == [ROW, ROW]
    assert copy.name == "a.jsonl"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert seen[-1][0] == seen[-1][1] == path.stat().st_size
    assert unpacked(path) == copy


def test_zstandard_of_csv(tmp_path: Path) -> None:
    import pyarrow

    path = tmp_path / "a.csv.zst"
    path.write_bytes(pyarrow.compress(b"q,a\nWhy?,So.\n", "zstd", asbytes=True))
    assert rows_of(path) == [{"q": "Why?", "a": "So."}]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([ROW] * 3), path)
    assert rows_of(path) == [ROW] * 3


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.parquet"])
def test_damaged_files_are_told_and_leave_nothing(tmp_path: Path, name: str) -> None:
    import pyarrow

    content = {
        "a.gz": gzip.compress(LINE * 100)[:-20],
        "a.zst": pyarrow.compress(LINE * 100, "zstd", asbytes=True)[:-10],
        "a.parquet": b"PAR1" + b"x" * 100,
    }[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpacked(tmp_path / name)
    assert not list((tmp_path / "home").rglob("*.new"))


def test_a_changed_file_is_unpacked_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINE))
    first = unpacked(path)
    path.write_bytes(gzip.compress(LINE + b"\n" + LINE))
    assert unpacked(path) != first
    assert len(rows_of(path)) == 2


def test_a_bomb_is_refused_before_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    usage = unpack.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(unpack.shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(DataError, match="no room"):
        unpacked(path)


def test_old_copies_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "KEPT_BYTES", 3 * len(LINE))
    for number in range(6):
        path = tmp_path / f"{number}.jsonl.gz"
        path.write_bytes(gzip.compress(LINE))
        last = unpacked(path)
    assert len(list(last.parent.parent.iterdir())) == 3
    assert last.exists()


def test_an_index_of_lines_begins_after_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINE + b"\r\n" + LINE)
    index = open_index(path)
    assert isinstance(index, LineIndex)
    index.scan()
    assert [index.raw(number) for number in range(len(index))] == [LINE, LINE]
    index.close()
