"""A small server that speaks as `transformers serve` does, for what has to do with the gateway alone.

    python -P tests/core/serving/small_upstream.py FOLDER SOCKET

The last message says what to do, in words: `say TEXT` (word by word), `spell TEXT` (character by character), `wait N`
(seconds before the next), `die`, `break` (an error in the stream), `refuse`. Bodies go to FOLDER/seen.jsonl, what was
cancelled to FOLDER/cancelled.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

FOLDER = Path(sys.argv[1])
PROMPT_TOKENS = 7


def chunk(chat: bool, text: str | None = None, finish: str | None = None, tokens: int = 0) -> str:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice.update({"delta": {"content": text} if text else {}} if chat else {"text": text or ""})
    content: dict[str, Any] = {"id": "x", "model": ".@main", "choices": [choice]}
    if finish:
        total = PROMPT_TOKENS + tokens
        content["usage"] = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": tokens,
            "total_tokens": total,
        }
    return f"data: {json.dumps(content)}\n\n"


async def stream(body: dict[str, Any], chat: bool, words: str) -> AsyncIterator[str]:
    tokens = 0
    try:
        for line in words.split("\n"):
            verb, _, rest = line.partition(" ")
            if verb == "wait":
                await asyncio.sleep(float(rest))
            elif verb == "die":
                os._exit(9)
            elif verb == "break":
                yield 'data: {"error": "it is "broken""}\n\n'
                return
            for piece in (
                rest if verb == "spell" else [f"{word} " for word in rest.split(" ")] if verb == "say" else []
            ):
                if tokens >= body.get("max_tokens", 999):
                    break
                tokens += 1
                yield chunk(chat, piece)
                await asyncio.sleep(0)
        yield chunk(chat, finish="length" if tokens >= body.get("max_tokens", 999) else "stop", tokens=tokens)
    except asyncio.CancelledError:
        (FOLDER / "cancelled").write_text(words)
        raise


async def complete(request: Request) -> Response:
    body = await request.json()
    with (FOLDER / "seen.jsonl").open("a") as seen:
        seen.write(json.dumps(body) + "\n")
    chat = request.url.path == "/v1/chat/completions"
    words = body["messages"][-1]["content"] if chat else body["prompt"]
    if words == "refuse":
        return JSONResponse({"detail": "The prompt has 300 tokens; the model takes 256 with its reply."}, 400)
    return StreamingResponse(stream(body, chat, words), media_type="text/event-stream")


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def reset(request: Request) -> Response:
    (FOLDER / "reset").touch()
    return JSONResponse({})


def end_with_gateway() -> None:
    while os.read(0, 100):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_gateway, daemon=True).start()
    if (FOLDER / "fails").exists():
        sys.exit("it can't be loaded")
    routes = [
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/health", health),
        Route("/reset", reset, methods=["POST"]),
    ]
    uvicorn.run(Starlette(routes=routes), uds=sys.argv[2], log_level="error")
