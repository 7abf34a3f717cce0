"""Blocked text never reaches a client, however it comes in pieces."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.runs import locks
from core.runs.process import Identity
from core.serving import deployments, sockets
from core.serving.patterns import Pattern
from core.serving.safety import (
    BLOCK_LIST,
    LONGEST_PIECE,
    Blocked,
    BlockList,
    Gate,
    Judged,
    SafetyError,
    open_safety,
)
from core.serving.safety_azure import ENDPOINT, KEY, AzureJudge
from core.serving.safety_guard import read_judgement
from tests.core.serving.gateways import make_settings, model, running, until

SECRET = "Tidelamp secret"


async def through(gate: Gate, pieces: Iterable[str]) -> tuple[str, str]:
    """(what went on, what was found)."""
    passed = ""
    try:
        for piece in pieces:
            passed += await gate.feed(piece)
        passed += await gate.end()
    except Blocked as blocked:
        return passed, blocked.category
    return passed, ""


def cut(text: str, places: list[int]) -> list[str]:
    borders = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[one:two] for one, two in zip(borders, borders[1:], strict=False)]


@given(
    st.text("ab \u200b", max_size=30), st.text("abB", max_size=30), st.lists(st.integers(0, 99), max_size=12)
)
def test_no_part_of_a_match_passes_whatever_the_pieces(before: str, after: str, places: list[int]) -> None:
    safety = BlockList([Pattern("line 1", r"Tide\s?lamp secre(t|ts)"), Pattern("line 2", r"bba{0,5}b\b")])
    text = f"{before} {SECRET}{after}"
    passed, category = asyncio.run(through(safety.gate(), cut(text, places)))
    assert category
    assert "T" not in passed and text.startswith(passed)


@given(st.text(max_size=80), st.lists(st.integers(0, 99), max_size=12))
def test_what_is_not_blocked_passes_whole(text: str, places: list[int]) -> None:
    safety = BlockList([Pattern("line 1", "zqzq[0-9]{1,9}")])
    assert asyncio.run(through(safety.gate(), cut(text, places))) == (text, "")


async def test_text_is_held_back_only_as_far_as_a_match_is_long() -> None:
    gate = BlockList([Pattern("line 1", "secret")]).gate()
    assert await gate.feed("x" * 100) == "x" * 94
    assert await gate.feed("y") == "x"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("verb", ["say", "spell"])
async def test_a_blocked_reply_never_reaches_the_client(streamed: bool, verb: str) -> None:
    (make_settings()[1] / BLOCK_LIST).write_text("# of the lamp\nfor ?ty hours\n")
    async with running(safety={"kind": "patterns"}) as gateway:
        words = f"{verb} it glows quietly for\n{verb} ty hours and more"  # the prompt itself has no match
        answer = await gateway.ask(words, stream=streamed)
        assert answer.status_code == 200
        assert '"finish_reason":"content_filter"' in answer.text
        if streamed:
            parts = [
                json.loads(event[6:]) for event in answer.text.split("\n\n") if event.startswith("data: {")
            ]
            text = "".join(part["choices"][0]["delta"].get("content", "") for part in parts)
        else:
            text = answer.json()["choices"][0]["message"]["content"]
        assert "it glows quietly ".startswith(text) and len(text) > 10
        body = {"model": "lamp", "stream": streamed, "prompt": f"{verb} For\u00adTY Hours"}
        answer = await gateway.local.post("/v1/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")
        assert len(gateway.seen()) == 1


class Scripted:
    """A judge who finds a word in what it is shown."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.shown: list[str] = []

    async def judge(self, text: str) -> str:
        self.shown.append(text)
        return "found it" if self.word in text else ""

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
async def test_a_judge_sees_every_character_before_the_client_does(size: int) -> None:
    text = ("The lamp glows for a long time when salt is added to its water. " * 40)[:2000]
    judge = Scripted("never there")
    passed, category = await through(
        Judged(judge).gate(), [text[n : n + size] for n in range(0, len(text), size)]
    )
    assert (passed, category) == (text, "")
    assert max(map(len, judge.shown)) <= 2 * LONGEST_PIECE + size

    at = 1000
    text = text[:at] + SECRET + text[at:]
    judge = Scripted(SECRET)
    passed, category = await through(
        Judged(judge).gate(), [text[n : n + size] for n in range(0, len(text), size)]
    )
    assert category == "found it"
    assert SECRET not in passed and text.startswith(passed)


async def test_an_unknown_kind_of_safety_is_no_safety_off(tmp_path: Path) -> None:
    assert open_safety({"kind": "off"}, tmp_path) is None
    with pytest.raises(SafetyError):
        open_safety({"kind": "newer"}, tmp_path)
    with pytest.raises(SafetyError):
        open_safety({}, tmp_path)


# Azure AI Content Safety: the real client against a server on loopback


@asynccontextmanager
async def content_safety(seen: list[dict[str, Any]], status: int = 200) -> AsyncIterator[str]:
    """Its analyze call: violence 4 for what has `fight` in it, hate 2 for what has `fool`."""

    async def analyze(request: Request) -> Response:
        body = await request.json()
        seen.append({**body, "key": request.headers.get("ocp-apim-subscription-key")})
        if status != 200:
            return JSONResponse({"error": {"code": "Busy", "message": "Too many calls."}}, status)
        found = {"Violence": 4 * ("fight" in body["text"]), "Hate": 2 * ("fool" in body["text"])}
        analysis = [{"category": name, "severity": severity} for name, severity in found.items()]
        return JSONResponse({"blocklistsMatch": [], "categoriesAnalysis": analysis})

    app = Starlette(routes=[Route("/contentsafety/text:analyze", analyze, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    with sockets.bind_tcp("127.0.0.1", 0) as socket:
        task = asyncio.ensure_future(server._serve([socket]))
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def test_azure_is_asked_and_its_severities_are_held_against_the_thresholds() -> None:
    seen: list[dict[str, Any]] = []
    async with content_safety(seen) as endpoint:
        judge = AzureJudge(endpoint, "k3y", {"Hate": 2})
        assert await judge.judge("a calm text") == ""
        assert await judge.judge("a fight") == "azure, Violence 4"
        assert await judge.judge("you fool") == "azure, Hate 2"
        await judge.close()
        strict = AzureJudge(endpoint, "k3y", {"Violence": 6})
        assert await strict.judge("a fight between fools") == ""
        await strict.close()
    assert {item["key"] for item in seen} == {"k3y"}


async def test_a_long_text_is_judged_in_pieces_that_overlap() -> None:
    seen: list[dict[str, Any]] = []
    async with content_safety(seen) as endpoint:
        judge = AzureJudge(endpoint, "k3y", {})
        for place in (0, 9_997, 15_000, 24_000):
            text = "x" * place + "fight" + "x" * (24_000 - place)
            assert await judge.judge(text) == "azure, Violence 4"
        await judge.close()
    assert max(len(item["text"]) for item in seen) == 10_000


async def test_when_azure_gives_no_answer_nothing_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    async with content_safety(seen, status=400) as endpoint:
        monkeypatch.setenv(ENDPOINT, endpoint)
        monkeypatch.setenv(KEY, "k3y")
        async with running(safety={"kind": "azure", "thresholds": {}}) as gateway:
            answer = await gateway.ask("say hi")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "safety_unavailable")
            assert gateway.seen() == []
            assert all(
                b"k3y" not in path.read_bytes() for path in gateway.directory.rglob("*") if path.is_file()
            )


async def test_azure_blocks_in_the_middle_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    async with content_safety(seen) as endpoint:
        monkeypatch.setenv(ENDPOINT, endpoint)
        monkeypatch.setenv(KEY, "k3y")
        calm = "The lamp glows. " * 20
        async with running(safety={"kind": "azure", "thresholds": {}}) as gateway:
            words = f"spell {calm}They fig\nspell ht now."  # no piece of the prompt holds the word
            events = await gateway.stream(words)
            text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
            assert text and calm.startswith(text)
            assert events[-1]["choices"][0]["finish_reason"] == "content_filter"
            entry = (await gateway.logged(1))[0]
            assert (entry.blocked, entry.category, entry.status) == ("completion", "azure, Violence 4", 200)


def test_without_azure_s_endpoint_and_key_nothing_is_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(ENDPOINT, raising=False)
    monkeypatch.setenv(KEY, "k3y")
    with pytest.raises(SafetyError) as refused:
        open_safety({"kind": "azure", "thresholds": {}}, tmp_path)
    assert ENDPOINT in refused.value.cause and KEY not in refused.value.cause


# A guard model: another deployment


async def test_a_guard_model_judges_prompts_and_replies() -> None:
    async with running("guard", models=(model("judge"),)) as guard:
        lock = locks.take(guard.directory / "gateway.lock")
        assert lock is not None
        with lock:
            deployments.record_gateway(guard.directory, Identity.current())
            await until(lambda: deployments.find("guard").state == "healthy")
            safety = {"kind": "guard", "deployment": "guard", "model": "judge"}
            async with running(safety=safety) as gateway:
                # The guard of the test says what it is shown, so that a text judges itself.
                answer = await gateway.ask("spell unsafe")
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_filter")
                answer = await gateway.ask("say perhaps")  # neither safe nor unsafe: no judgement
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "safety_unavailable")
                assert gateway.seen() == []
                found = await gateway.logged(2)
                assert (found[0].blocked, found[0].category) == ("prompt", "guard, unsafe")
        asked = guard.seen("judge")
        assert [body["messages"] for body in asked] == [
            [{"role": "user", "content": "spell unsafe"}],
            [{"role": "user", "content": "say perhaps"}],
        ]
        assert {body["temperature"] for body in asked} == {0.0}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("safe", ""),
        ("\n\nsafe", ""),
        ("Unsafe\nS1, S2", "guard, S1, S2"),
        ("unsafe", "guard, unsafe"),
        ("unsafe\n<b>x</b>", "guard, unsafe"),
    ],
)
def test_a_guard_s_reply_is_read_as_llama_guard_writes_it(reply: str, found: str) -> None:
    assert read_judgement(reply) == found


@pytest.mark.parametrize("reply", ["", "safely", "It is safe.", "unsafe? no", "yes"])
def test_a_reply_that_is_no_judgement_is_none(reply: str) -> None:
    assert read_judgement(reply) is None


async def test_without_its_guard_nothing_passes() -> None:
    async with running(safety={"kind": "guard", "deployment": "gone", "model": "x"}) as gateway:
        answer = await gateway.ask("say hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "safety_unavailable")
        assert gateway.seen() == []


async def test_what_was_blocked_is_logged_without_its_text() -> None:
    (make_settings()[1] / BLOCK_LIST).write_text("zq[0-9]{2}zq\n")
    async with running(safety={"kind": "patterns"}) as gateway:
        await gateway.ask("say zq12zq")
        await gateway.ask("spell zq1\nspell 2zq and more")
        found = await gateway.logged(2)
        assert [(entry.blocked, entry.category) for entry in found] == [
            ("prompt", "block list, line 1"),
            ("completion", "block list, line 1"),
        ]
        assert json.dumps([entry.as_data() for entry in found]).count("zq") == 0
        assert found[1].completion_tokens == 7  # what the model had written when it was cut
