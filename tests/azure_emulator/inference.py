"""Endpoints that answer: chat completions, streamed or whole, with the content filter's refusals.

A message that contains `FILTER_PROMPT` is refused, one with `FILTER_ANSWER` gets an answer that the filter cuts;
both only where the endpoint's content safety is on.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

from tests.azure_emulator.endpoints import Endpoint
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

FILTER_PROMPT = "filter-this-prompt"
FILTER_ANSWER = "filter-this-answer"
CATEGORIES = ("hate", "self_harm", "sexual", "violence")


def routes(table: Table) -> None:
    table.add("GET", "/serve/{e}/info", info, "open")
    table.add("GET", "/serve/{e}/v1/models", model_list, "open")
    table.add("POST", "/serve/{e}/v1/chat/completions", chat, "open")
    table.add("POST", "/serve/{e}/chat/completions", chat, "open")


def _endpoint(call: Call) -> Endpoint:
    """The endpoint, after its key was checked the way the service does."""
    endpoint: Endpoint | None = call.azure.state.endpoints.get(call.names["e"])
    if not endpoint or not endpoint.is_online:
        raise Refusal(404, "NotFound", "The endpoint was not found.")
    given = call.headers.get("authorization") or call.headers.get("api-key")
    if not given:
        raise _plain(400, "Missing Authorization header")
    if given.removeprefix("Bearer ").strip() not in endpoint.keys.values():
        raise _plain(
            401,
            "Unauthorized. Access token is missing, invalid, audience is incorrect (https://ml.azure.com), or have "
            "expired.",
        )
    return endpoint


def _plain(status: int, message: str) -> Refusal:
    refusal = Refusal(status, "", message)
    refusal.answer.body = {"statusCode": status, "message": message}
    return refusal


def _model_name(endpoint: Endpoint) -> str:
    return endpoint.custom_model[0] if endpoint.custom_model else endpoint.model_id.rsplit("/", 1)[-1]


def info(call: Call) -> Answer:
    endpoint = _endpoint(call)
    return Answer(
        body={
            "model_name": _model_name(endpoint),
            "model_type": "chat-completion",
            "model_provider_name": "Phi",
        }
    )


def model_list(call: Call) -> Answer:
    endpoint = _endpoint(call)
    return Answer(
        body={
            "object": "list",
            "data": [{"id": _model_name(endpoint), "object": "model", "owned_by": "finetui"}],
        }
    )


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


def _findings(filtered: str | None) -> dict[str, Any]:
    return {
        name: {"filtered": name == filtered, "severity": "medium" if name == filtered else "safe"}
        for name in CATEGORIES
    }


def chat(call: Call) -> Answer:
    endpoint, body = _endpoint(call), call.body
    messages = body.get("messages") or []
    if not messages:
        raise Refusal(422, "Unprocessable Entity", "messages: at least one is needed.")
    asked = _text(messages[-1])
    guarded = endpoint.content_safety == "Enabled"
    if guarded and FILTER_PROMPT in asked:
        raise _filtered_prompt()
    settings = call.azure.state.settings
    reply = settings.reply if settings.reply is not None else f"{_model_name(endpoint)} heard: {asked}"
    words = [word + " " for word in reply.split(" ")]
    words[-1] = words[-1].rstrip(" ")
    limit = int(body.get("max_tokens") or body.get("max_completion_tokens") or len(words))
    ending = "stop" if limit >= len(words) else "length"
    words = words[:limit]
    if guarded and FILTER_ANSWER in asked:
        words, ending = words[: len(words) // 2], "content_filter"
    endpoint.answered += 1
    used = sum(len(_text(message).split()) for message in messages)
    usage = {"prompt_tokens": used, "completion_tokens": len(words), "total_tokens": used + len(words)}
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": _model_name(endpoint)}
    if body.get("stream"):
        wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        return Answer(
            stream=_events(head, words, ending, usage if wants_usage else None), pause=settings.token_pause
        )
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(words)},
        "finish_reason": ending,
        "logprobs": None,
    }
    if guarded:
        choice["content_filter_results"] = _findings("violence" if ending == "content_filter" else None)
    return Answer(body={**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _events(
    head: dict[str, Any], words: list[str], ending: str, usage: dict[str, int] | None
) -> Iterator[str]:
    def event(delta: dict[str, str], finish: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return f"data: {json.dumps({**head, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"

    yield event({"role": "assistant", "content": ""}, None)
    for word in words:
        yield event({"content": word}, None)
    yield event({}, ending)
    if usage:
        last = {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}
        yield f"data: {json.dumps(last)}\n\n"
    yield "data: [DONE]\n\n"


def _filtered_prompt() -> Refusal:
    """Azure OpenAI's documented answer; that serverless endpoints use the very same is an assumption."""
    refusal = Refusal(400, "content_filter", "")
    refusal.answer.body = {
        "error": {
            "message": "The response was filtered due to the prompt triggering Azure's content management policy. "
            "Please modify your prompt and retry.",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "status": 400,
            "innererror": {
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": _findings("violence"),
            },
        }
    }
    return refusal
