"""The data worker as a process, as the app talks to it."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.index import open_index
from core.pipes import PipeClient, PipeError

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "\x1b[31mHello"}]}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[PipeClient]:
    worker = PipeClient("core.data.worker", tmp_path / "worker.log")
    yield worker
    await worker.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    long = {"messages": ROW["messages"] * 3}
    path.write_text("\n".join([json.dumps(ROW), "{broken", json.dumps(long), json.dumps(ROW)]) + "\n")
    return path


def spans(path: Path) -> list[tuple[int, int, int, int]]:
    index = open_index(path)
    index.scan()
    return [(number, index.line_number(number), *index.span(number)) for number in range(len(index))]


async def test_render_gives_runs_of_trained_text_and_errors_by_row(
    client: PipeClient, data: Path, make_model: Callable[..., Path]
) -> None:
    folder = str(make_model("phi-3-mini"))
    answers = await client.call("render", path=str(data), lines=spans(data), model_folder=folder)
    assert [answer["row"] for answer in answers] == [0, 1, 2, 3]
    runs = [[text, trained, mark] for text, trained, _, mark in answers[0]["tokens"]]
    assert runs == [
        ["<|user|>\nHi<|end|>\n<|assistant|>\n", False, ""],
        ["\x1b[31mHello", True, ""],
        ["<|end|>", True, "end"],
        ["\n<|endoftext|>", False, ""],
    ]
    ids = [number for _, _, numbers, _ in answers[0]["tokens"] for number in numbers]
    assert len(ids) == answers[0]["token_count"] > answers[0]["trained_count"] > 1
    assert answers[0]["cut_at"] is None
    assert answers[1]["error"]["what"].startswith(f"{data}:2: ")
    assert answers[2]["trained_count"] == 3 * answers[0]["trained_count"]
    with pytest.raises(PipeError, match=r"no tokenizer.json"):
        await client.call("render", path=str(data), lines=spans(data), model_folder=str(data.parent))


@pytest.mark.parametrize("length", [1, 4, 9])
async def test_render_says_where_the_sequence_length_cuts(
    client: PipeClient, data: Path, make_model: Callable[..., Path], length: int
) -> None:
    (answer,) = await client.call(
        "render",
        path=str(data),
        lines=spans(data)[:1],
        model_folder=str(make_model("phi-3-mini")),
        sequence_length=length,
    )
    kept = [number for _, _, ids, _ in answer["tokens"][: answer["cut_at"]] for number in ids]
    assert len(kept) == length < answer["token_count"]


async def test_rows_of_an_array_keep_their_lines_and_the_mapping_of_columns(
    client: PipeClient, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"frage": "Hi", "antwort": "Ho"}, {"frage": "Hi"}], indent=1))
    asked = {"path": str(path), "lines": spans(path), "model_folder": str(make_model("smollm2"))}
    columns = {"prompt": "frage", "completion": "antwort"}
    good, bad = await client.call("render", **asked, columns=columns, name="the name.json")
    assert any(text == "Ho" and trained for text, trained, _, _ in good["tokens"])
    assert bad["error"]["what"].startswith("the name.json:6: ")


async def test_check_streams_problems_then_counts(client: PipeClient, data: Path) -> None:
    frames = [frame async for frame in client.stream("check", path=str(data))]
    problems = [problem for kind, value in frames if kind == "chunk" for problem in value["problems"]]
    assert [(problem["row"], problem["code"]) for problem in problems] == [
        (1, "control-characters"),
        (2, "broken-json"),
        (3, "control-characters"),
        (4, "control-characters"),
        (4, "duplicate"),
        (0, "few-rows"),
    ]
    last_chunk: Any = frames[-2][1]
    assert last_chunk["bytes"] == last_chunk["total"] == data.stat().st_size
    kind, counts = frames[-1]
    assert kind == "result"
    tiers = counts.pop("tiers")
    assert counts == {
        "rows": 4,
        "conversations": 3,
        "errors": 1,
        "warnings": 5,
        "codes": {"control-characters": 3, "broken-json": 1, "duplicate": 1, "few-rows": 1},
    }
    assert {tier: figures["bytes"] for tier, figures in tiers.items()}["structure"] == data.stat().st_size
    with pytest.raises(PipeError, match="does not exist"):
        await client.call("check", path=str(data.parent / "none"))


async def test_stats(client: PipeClient, data: Path, make_model: Callable[..., Path]) -> None:
    plain = await client.call("stats", path=str(data))
    assert (plain["rows"], plain["sampled"], plain["usable"]) == (4, 4, 3)
    turns = plain["turns"]
    assert turns.pop("histogram") == {"start": 2, "width": 1, "counts": [3]}
    assert turns == {"min": 2, "median": 2, "p95": 2, "max": 6, "mean": 10 / 3, "sum": 10}
    assert "tokens" not in plain
    full = await client.call("stats", path=str(data), model_folder=str(make_model("gemma")))
    assert full["refused"] == 0
    assert full["tokens"]["sum"] > full["trained_tokens"]["sum"] > 0
    assert (await client.call("stats", path=str(data), sample=2))["sampled"] == 2


async def test_filter_streams_the_rows_that_are_let_through(client: PipeClient, data: Path) -> None:
    frames = [frame async for frame in client.stream("filter", path=str(data), query="turns>=4")]
    assert [row for kind, value in frames if kind == "chunk" for row in value["rows"]] == [2]
    assert frames[-1] == ("result", {"found": 1})
    with pytest.raises(PipeError, match="model"):
        await client.call("filter", path=str(data), query="tokens>3")


async def test_unpack_makes_a_plain_copy(client: PipeClient, data: Path) -> None:
    packed = data.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(data.read_bytes()))
    plain = Path((await client.call("unpack", path=str(packed)))["plain"])
    assert plain != packed
    assert plain.read_bytes() == data.read_bytes()
    assert (await client.call("unpack", path=str(data)))["plain"] == str(data)
