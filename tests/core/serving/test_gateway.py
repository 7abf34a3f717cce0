"""What a gateway lets through, to whom, and how it answers the rest."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import httpx
import pytest

from core.serving import deployments, profile
from core.serving.deployments import DeploymentError
from tests.core.serving.gateways import model, reply_or_error, running, until, with_limits


async def test_a_reply_comes_whole_or_in_pieces_with_the_same_text() -> None:
    async with running() as gateway:
        whole = (await gateway.ask("say the lamp glows", max_tokens=10)).json()
        assert whole["object"] == "chat.completion"
        assert whole["model"] == "lamp"
        assert whole["choices"][0]["message"] == {"role": "assistant", "content": "the lamp glows "}
        assert whole["choices"][0]["finish_reason"] == "stop"
        assert whole["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}

        events = await gateway.stream("say the lamp glows", stream_options={"include_usage": True})
        assert {event["model"] for event in events} == {"lamp"}
        assert events[0]["choices"][0]["delta"]["role"] == "assistant"
        deltas = [event["choices"][0]["delta"].get("content", "") for event in events if event["choices"]]
        assert "".join(deltas) == "the lamp glows "
        assert events[-2]["choices"][0]["finish_reason"] == "stop"
        assert events[-1]["usage"]["completion_tokens"] == 3

        events = await gateway.stream("say the lamp glows", max_tokens=2)
        assert events[-1]["choices"][0]["finish_reason"] == "length"
        assert all("usage" not in event for event in events)


async def test_a_completion_goes_to_its_own_route() -> None:
    async with running() as gateway:
        body = {"model": "other", "prompt": "say one two", "max_tokens": 5}
        answer = (await gateway.local.post("/v1/completions", json=body)).json()
        assert (answer["object"], answer["choices"][0]["text"]) == ("text_completion", "one two ")
        assert gateway.seen("other")[0]["prompt"] == "say one two"


async def test_only_fields_of_the_list_reach_the_model() -> None:
    async with running() as gateway:
        messages = [
            {"role": "developer", "content": "be short", "name": "x"},
            {"role": "user", "content": [{"type": "text", "text": "say"}, {"type": "text", "text": "yes"}]},
            {"role": "user", "content": "say hi", "tool_calls": [{"id": "1"}]},
        ]
        fields = {
            "temperature": 0.5, "top_p": 0.9, "stop": ["###"], "seed": 7, "n": 1,
            "max_completion_tokens": 9, "max_tokens": 3,
            "generation_config": '{"max_new_tokens": 100000}', "chat_template_kwargs": {"x": 1}, "tools": [{}],
            "logit_bias": {"1": 100}, "user": "u", "stream_options": {"include_usage": True}, "suffix": "s",
        }  # fmt: skip
        answer = await gateway.local.post(
            "/v1/chat/completions", json={"model": "lamp", "messages": messages, **fields}
        )
        assert answer.status_code == 200
        assert gateway.seen() == [
            {
                "max_tokens": 9,
                "temperature": 0.5,
                "top_p": 0.9,
                "seed": 7,
                "stop": ["###"],
                "messages": [
                    {"role": "system", "content": "be short"},
                    {"role": "user", "content": "say\nyes"},
                    {"role": "user", "content": "say hi"},
                ],
                "model": ".",
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ]


async def test_a_reply_has_no_more_tokens_than_the_deployment_allows() -> None:
    async with running(**with_limits(max_tokens=4)) as gateway:
        for fields in ({}, {"max_tokens": 3}, {"max_tokens": 100_000}):
            await gateway.ask("say hi", **fields)
        assert [body["max_tokens"] for body in gateway.seen()] == [4, 3, 4]


async def test_vllm_is_told_a_number_of_tokens_only_where_one_was_asked_for() -> None:
    async with running(engine="vllm", **with_limits(max_tokens=40)) as gateway:
        for fields in ({"max_tokens": 100}, {}):
            await gateway.local.post("/v1/completions", json={"model": "lamp", "prompt": "say", **fields})
        assert [body.get("max_tokens") for body in gateway.seen()] == [40, None]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 9}, "stop"),
        ({"stop": ["x" * 201]}, "stop"),
        ({"stream": "yes"}, "stream"),
    ],
)  # fmt: skip
async def test_a_field_that_can_t_be_meant_is_named_and_reaches_no_model(
    fields: dict[str, object], param: str
) -> None:
    async with running() as gateway:
        body = {"model": "lamp", "messages": [{"role": "user", "content": "say hi"}], **fields}
        answer = await gateway.local.post("/v1/chat/completions", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
        assert gateway.seen() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"model": "\\ud800"}', b"[" * 5000])
async def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    async with running() as gateway:
        answer = await gateway.local.post("/v1/chat/completions", content=content)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


async def test_an_unknown_model_is_not_found_and_nobody_loads_it() -> None:
    async with running() as gateway:
        answer = await gateway.ask("say hi", model="/etc/passwd")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
        assert [item.state for item in gateway.serving.upstreams.all] == ["cold", "cold"]
        listed = (await gateway.local.get("/v1/models")).json()
        assert [item["id"] for item in listed["data"]] == ["lamp", "other"]


async def test_a_model_without_a_chat_template_takes_prompts_only() -> None:
    async with running(models=(model("lamp", chat=False),)) as gateway:
        answer = await gateway.ask("say hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_chat_template")
        body = {"model": "lamp", "prompt": "say hi"}
        assert (await gateway.local.post("/v1/completions", json=body)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("POST", "/load_model", 404),
        ("POST", "/reset", 404),
        ("POST", "/v1/responses", 404),
        ("POST", "/v1/systemone", 404),
        ("GET", "/health/", 404),
        ("GET", "/v1/chat/completions", 405),
        ("OPTIONS", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/../reset", 404),
    ],
)
async def test_no_other_route_exists(method: str, path: str, status: int) -> None:
    async with running() as gateway:
        answer = await gateway.http.request(
            method, path, headers={**gateway.headers, "origin": "http://evil.example"}, json={"model": "x"}
        )
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert not (gateway.folder() / "reset").exists()


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/nowhere"])
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", "Basic {key}", "Bearer {key}x", "{key}", "Bearer {hash}"]
)
async def test_over_tcp_nothing_is_said_without_the_key(path: str, header: str | None) -> None:
    async with running() as gateway:
        headers = {}
        if header is not None:
            sha256 = gateway.settings.key_sha256
            headers["authorization"] = header.format(key=gateway.key, hash=sha256)
        answer = await gateway.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert (await gateway.http.get("/v1/models", headers=gateway.headers)).status_code == 200


async def test_the_key_is_nowhere_in_the_deployment_s_files() -> None:
    async with running() as gateway:
        await gateway.http.get("/v1/models", headers=gateway.headers)
        await gateway.http.get("/v1/models", headers={"authorization": "Bearer wrong-secret"})
        await gateway.ask("say hi")
        await gateway.logged(2)
        for path in gateway.directory.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert gateway.key.encode() not in content and b"wrong-secret" not in content


async def test_another_key_counts_at_once() -> None:
    async with running() as gateway:
        fresh = deployments.rotate_key("lamp")
        assert (await gateway.http.get("/v1/models", headers=gateway.headers)).status_code == 401
        headers = {"authorization": f"Bearer {fresh}"}
        assert (await gateway.http.get("/v1/models", headers=headers)).status_code == 200


async def test_the_unix_socket_is_this_user_s_alone_and_asks_for_no_key() -> None:
    async with running() as gateway:
        assert (await gateway.local.get("/v1/models")).status_code == 200
        await gateway.ask("say hi")
        folder = Path(gateway.settings.sockets)
        for place in (folder, folder.parent):
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert stat.S_IMODE(gateway.settings.socket.stat().st_mode) == 0o600
        assert {
            stat.S_IMODE(path.stat().st_mode) for path in gateway.directory.iterdir() if path.is_file()
        } == {0o600}


async def test_stop_texts_are_cut_off_where_the_model_wrote_them_out() -> None:
    async with running() as gateway:
        answer = (await gateway.ask("spell one ##two### three", stop=["###"])).json()
        assert answer["choices"][0]["message"]["content"] == "one ##two"
        assert answer["choices"][0]["finish_reason"] == "stop"
        events = await gateway.stream("spell a#", stop="##")
        assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == "a#"


async def test_what_a_model_refuses_is_told_and_what_breaks_it_too() -> None:
    async with running() as gateway:
        answer = await gateway.ask("refuse")
        assert answer.status_code == 400
        assert "takes 256" in answer.json()["error"]["message"]
        answer = await gateway.ask("break")
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "model_failed")
        events = await gateway.stream("say one\nwait 0.2\nbreak")
        assert events[-1]["error"]["code"] == "model_failed"
        assert [entry.error for entry in await gateway.logged(3)] == [
            "invalid_request",
            "model_failed",
            "model_failed",
        ]


async def test_a_model_that_says_nothing_for_too_long_is_given_up() -> None:
    async with running(**with_limits(silent_s=0.5)) as gateway:
        answer = await gateway.ask("wait 20\nsay late")
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "model_silent")
        await until((gateway.folder() / "cancelled").exists)


async def test_streams_may_end_when_the_gateway_is_stopped() -> None:
    async with running(**with_limits(grace_s=20.0)) as gateway:
        await gateway.ask("say hi")
        asked = asyncio.ensure_future(gateway.ask("wait 1\nsay done"))
        await until(lambda: len(gateway.seen()) == 2)
        gateway.serving.stop()
        assert (await asked).json()["choices"][0]["message"]["content"] == "done "
        await gateway.task
        assert isinstance(await reply_or_error(gateway.http.get("/health")), httpx.HTTPError)


async def test_a_stream_that_outlasts_the_grace_is_cut() -> None:
    async with running(**with_limits(grace_s=1.0)) as gateway:
        asked = asyncio.ensure_future(reply_or_error(gateway.ask("say one\nwait 60", stream=True)))
        await until(lambda: len(gateway.seen()) == 1)
        gateway.serving.stop()
        await gateway.task
        answer = await asked
        assert isinstance(answer, httpx.Response)
        assert "one" in answer.text and '"code":"stopping"' in answer.text
        assert (await gateway.logged(1))[0].error == "stopping"


async def test_prompts_unlike_the_training_data_are_flagged_without_their_text() -> None:
    prompts = [f"how long does the lamp number {n} glow with salt water" for n in range(40)]
    async with running(models=(model("lamp"),)) as gateway:
        profile.write({"lamp": profile.make(prompts)}, gateway.directory)
    async with running(models=(model("lamp"),)) as gateway:
        await gateway.ask("how long does the lamp glow with salt water")
        await gateway.ask("Сколько времени светит лампа")
        found = await gateway.logged(2)
        assert [entry.flags for entry in found] == ["", "script"]
        assert {entry.prompt for entry in found} == {None}


async def test_texts_are_kept_only_where_that_was_asked_for() -> None:
    for kept in (False, True):
        async with running(f"keep-{kept}".lower(), keep_texts=kept) as gateway:
            await gateway.ask("say secret words")
            entry = (await gateway.logged(1))[0]
            assert (entry.prompt, entry.completion) == (
                ("say secret words", "secret words ") if kept else (None, None)
            )
            assert (entry.prompt_tokens, entry.completion_tokens, entry.status) == (7, 2, 200)
            assert entry.first_token_ms is not None and entry.per_token_ms is not None
            assert 0 < entry.first_token_ms <= entry.duration_ms
            assert json.loads(entry.messages or "null") == (
                [{"role": "user", "content": "say secret words"}] if kept else None
            )
            files = [path for path in gateway.directory.iterdir() if path.is_file()]
            assert any(b"secret words" in path.read_bytes() for path in files) is kept


def test_a_name_that_is_none_leads_nowhere() -> None:
    for name in ("..", "../x", "", ".new-x", "A", "a/b", "x" * 41, os.sep):
        with pytest.raises(DeploymentError):
            deployments.find(name)
