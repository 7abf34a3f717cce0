"""The data worker as a process, as the app talks to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core.data.index import LineIndex
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


def spans(path: Path) -> list[tuple[int, int, int]]:
    index = LineIndex(path)
    index.scan()
    return [(number, *index.span(number)) for number in range(len(index))]


async def test_render_gives_runs_of_trained_text_and_errors_by_line(
    client: PipeClient, data: Path, make_model: Callable[..., Path]
) -> None:
    folder = str(make_model("phi-3-mini"))
    answers = await client.call("render", path=str(data), lines=spans(data), model_folder=folder)
    assert [answer["line"] for answer in answers] == [0, 1, 2, 3]
    assert answers[0]["tokens"] == [
        ["<|user|>\nHi<|end|>\n<|assistant|>\n", False],
        ["\x1b[31mHello<|end|>", True],
        ["\n<|endoftext|>", False],
    ]
    assert answers[0]["token_count"] > answers[0]["trained_count"] > 1
    assert answers[1]["error"]["what"].startswith(f"{data}:2: ")
    assert answers[2]["trained_count"] == 3 * answers[0]["trained_count"]
    with pytest.raises(PipeError, match=r"no tokenizer.json"):
        await client.call("render", path=str(data), lines=spans(data), model_folder=str(data.parent))


async def test_check_streams_problems_then_counts(client: PipeClient, data: Path) -> None:
    frames = [frame async for frame in client.stream("check", path=str(data))]
    problems = [problem for kind, value in frames if kind == "chunk" for problem in value["problems"]]
    assert [(problem["line"], problem["code"]) for problem in problems] == [
        (2, "broken-json"),
        (4, "duplicate"),
    ]
    last_chunk: Any = frames[-2][1]
    assert last_chunk["bytes"] == last_chunk["total"] == data.stat().st_size
    assert frames[-1] == (
        "result",
        {
            "rows": 4,
            "conversations": 3,
            "errors": 1,
            "warnings": 1,
            "codes": {"broken-json": 1, "duplicate": 1},
        },
    )
    with pytest.raises(PipeError, match="does not exist"):
        await client.call("check", path=str(data.parent / "none"))


async def test_stats(client: PipeClient, data: Path, make_model: Callable[..., Path]) -> None:
    plain = await client.call("stats", path=str(data))
    assert (plain["lines"], plain["sampled"], plain["usable"]) == (4, 4, 3)
    assert plain["turns"] == {"min": 2, "median": 2, "p95": 2, "max": 6, "mean": 10 / 3, "sum": 10}
    assert "tokens" not in plain
    full = await client.call("stats", path=str(data), model_folder=str(make_model("gemma")))
    assert full["refused"] == 0
    assert full["tokens"]["sum"] > full["trained_tokens"]["sum"] > 0
    assert (await client.call("stats", path=str(data), sample=2))["sampled"] == 2
