"""What goes over the wire: requests as they are taken, replies and errors in the shape of OpenAI's API.

A request is built anew from the fields below and nothing else; what is not on the list never reaches a model:

    model messages prompt max_tokens max_completion_tokens temperature top_p stop seed stream stream_options n

`n` may only be 1. Of messages only `role` and `content` are taken, of contents only text.
"""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Kind = Literal["chat", "completion"]

ROLES = frozenset({"system", "user", "assistant"})
MOST_MESSAGES = 1000
MOST_STOPS = 8
LONGEST_STOP = 200
MOST_SEED = 2**63 - 1


class Refused(Exception):  # noqa: N818 - an answer of the gateway, not a failure of its own
    """A request is answered with an error.

    Args:
        status: of HTTP.
        code: what OpenAI's clients tell errors apart by.
        message: for people.
        param: the field it is about.
        retry_after: seconds after which another try makes sense, or None.
        close: the connection ends with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after: int | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.close = close

    def body(self) -> bytes:
        """The JSON of the answer."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Beside those of every answer."""
        found = [(b"retry-after", str(self.retry_after).encode())] if self.retry_after is not None else []
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        if self.close:
            found.append((b"connection", b"close"))
        return found


@dataclass(frozen=True)
class Wanted:
    """A request, read.

    Args:
        kind: a chat or a completion.
        model: its name in this deployment.
        body: the fields for the model, without its name.
        stops: texts that end the reply.
        stream: as it comes, or at once.
        usage: whether a stream ends with its token counts.
        texts: everything that the user's side says, message by message.
        asked: the last message of the user's, or the prompt.
    """

    kind: Kind
    model: str
    body: dict[str, Any]
    stops: tuple[str, ...]
    stream: bool
    usage: bool
    texts: tuple[str, ...]
    asked: str


def read(kind: Kind, content: bytes, most_tokens: int, said: bool = True) -> Wanted:
    """A request's body.

    Args:
        kind: by its path.
        content: the bytes.
        most_tokens: what a reply may have.
        said: whether the model is told so when the request asks for no number of tokens.

    Raises:
        Refused: it is no JSON object, or a field is not as it should be.
    """
    try:
        given = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Refused(400, "invalid_json", f"The body is no JSON: {error}.") from error
    if not isinstance(given, dict):
        raise Refused(400, "invalid_json", "The body is no JSON object.")
    fields = {name: value for name, value in given.items() if value is not None}
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "must be the name of a model; GET /v1/models lists them")
    if fields.get("n", 1) != 1:
        raise _wrong("n", "may only be 1")
    stops = _stops(fields.get("stop"))
    tokens = _tokens(fields)
    body: dict[str, Any] = {"max_tokens": min(tokens or most_tokens, most_tokens)} if tokens or said else {}
    for name, low, high in (("temperature", 0.0, 2.0), ("top_p", 0.0, 1.0)):
        if name in fields:
            body[name] = _number(fields, name, low, high)
    if "seed" in fields:
        body["seed"] = _whole(fields, "seed", 0, MOST_SEED)
    if stops:
        body["stop"] = list(stops)
    options = fields.get("stream_options", {})
    texts, asked = _messages(fields, body) if kind == "chat" else _prompt(fields, body)
    return Wanted(
        kind=kind,
        model=model,
        body=body,
        stops=stops,
        stream=_flag(fields, "stream"),
        usage=isinstance(options, dict) and options.get("include_usage") is True,
        texts=texts,
        asked=asked,
    )


def _wrong(name: str, words: str) -> Refused:
    return Refused(400, "invalid_value", f"{name} {words}.", param=name)


def _flag(fields: dict[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise _wrong(name, "must be true or false")
    return value


def _number(fields: dict[str, Any], name: str, low: float, high: float) -> float:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(name, "must be a number")
    if not low <= value <= high:
        raise _wrong(name, f"must be from {low:g} to {high:g}")
    return float(value)


def _whole(fields: dict[str, Any], name: str, low: int, high: int) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _wrong(name, f"must be a whole number, {low} or more")
    return value


def _tokens(fields: dict[str, Any]) -> int:
    """What the request allows for the reply; the newer name wins, 0 when it names none."""
    for name in ("max_completion_tokens", "max_tokens"):
        if name in fields:
            return _whole(fields, name, 1, MOST_SEED)
    return 0


def _stops(value: Any) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else None
    if value is None:
        return ()
    if stops is None or not all(isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise _wrong("stop", f"must be a text of up to {LONGEST_STOP} characters, or a list of such")
    if len(stops) > MOST_STOPS:
        raise _wrong("stop", f"may have up to {MOST_STOPS} texts")
    return stops


def _prompt(fields: dict[str, Any], body: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise _wrong("prompt", "must be a text")
    body["prompt"] = prompt
    return (prompt,), prompt


def _messages(fields: dict[str, Any], body: dict[str, Any]) -> tuple[tuple[str, ...], str]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
        raise _wrong("messages", f"must be a list of 1 to {MOST_MESSAGES} messages")
    taken = [_message(number, message) for number, message in enumerate(messages)]
    body["messages"] = taken
    asked = next(
        (item["content"] for item in reversed(taken) if item["role"] == "user"), taken[-1]["content"]
    )
    return tuple(item["content"] for item in taken), asked


def _message(number: int, message: Any) -> dict[str, str]:
    place = f"messages[{number}]"
    role = message.get("role") if isinstance(message, dict) else None
    if role == "developer":  # OpenAI's newer word for it
        role = "system"
    if role not in ROLES:
        raise _wrong(f"{place}.role", "must be system, user or assistant")
    content = message.get("content")
    if isinstance(content, list):
        parts = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        if len(parts) < len(content) or not all(isinstance(part, str) for part in parts):
            raise _wrong(f"{place}.content", "may have parts of text only: these models read nothing else")
        content = "\n".join(str(part) for part in parts)
    if not isinstance(content, str):
        raise _wrong(f"{place}.content", "must be a text")
    return {"role": role, "content": content}


# Replies


class Shape:
    """One reply in OpenAI's shape.

    Args:
        wanted: the request.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._chat = wanted.kind == "chat"
        self._usage = wanted.usage
        self._head: dict[str, Any] = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": wanted.model,
        }

    def first(self) -> bytes:
        """What a stream begins with: of a chat the role, else nothing."""
        return self._chunk({"role": "assistant", "content": ""}) if self._chat else b""

    def piece(self, text: str) -> bytes:
        """A piece of the text."""
        return self._chunk({"content": text} if self._chat else text)

    def last(self, finish: str, usage: dict[str, int]) -> bytes:
        """The end of a stream."""
        parts = [self._chunk({} if self._chat else "", finish)]
        if self._usage:
            parts.append(_event({**self._head, "object": self._object(True), "choices": [], "usage": usage}))
        return b"".join([*parts, b"data: [DONE]\n\n"])

    def whole(self, text: str, finish: str, usage: dict[str, int]) -> bytes:
        """The reply at once."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": None}
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        return orjson.dumps(
            {**self._head, "object": self._object(False), "choices": [choice], "usage": usage}
        )

    def _object(self, chunk: bool) -> str:
        if not self._chat:
            return "text_completion"
        return "chat.completion.chunk" if chunk else "chat.completion"

    def _chunk(self, content: Any, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta" if self._chat else "text": content, "finish_reason": finish}
        return _event({**self._head, "object": self._object(True), "choices": [choice]})


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def failed_stream(refused: Refused) -> bytes:
    """The end of a stream that has begun and can't go on."""
    return b"data: " + refused.body() + b"\n\n"


class StopTexts:
    """Cuts a text at the first of its stop texts, which the model itself may have written out.

    Args:
        stops: the texts; a piece that could be the beginning of one is held back.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What of the text so far may go on."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        held = self._held + text
        places = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if places:
            self.stopped, self._held = True, ""
            return held[: min(places)]
        keep = max(self._beginning(held, stop) for stop in self._stops)
        self._held = held[len(held) - keep :]
        return held[: len(held) - keep]

    def end(self) -> str:
        """What was held back, now that no more comes."""
        held, self._held = self._held, ""
        return held

    @staticmethod
    def _beginning(text: str, stop: str) -> int:
        """Length of the longest end of the text that the stop text begins with."""
        return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
