"""Replies of an endpoint, by the openai client. For worker processes: the app never imports openai.

Waiting for a server is done in small steps, so that a reply can be given up at any moment.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

from core.serving.endpoint import Connection, EndpointError, gone
from core.serving.reply import Made, Refusal, Sampling

CONNECT_S, READ_S = 10.0, 300.0
"""A server may load a model before it answers: reading waits long."""

LOOK_S = 0.1
MAX_CHARACTERS = 1 << 20
"""Of one reply; what a server sends beyond is not read."""

MAX_MESSAGE = 500
ENDINGS = {"stop": "turn end", "length": "length", "content_filter": "blocked"}

OF_THE_PROMPT = (400, 413, 422)
"""Statuses that refuse what was asked, not whoever asks."""

FILTERED = "content_filter"

Messages = Sequence[dict[str, str]]


class PromptRefusedError(EndpointError):
    """The endpoint can be asked, but doesn't answer this.

    Attributes:
        refusal: why.
    """

    def __init__(self, what: str, cause: str, next_step: str, blocked: bool) -> None:
        super().__init__(what, cause, next_step)
        self.refusal = Refusal(cause or what, blocked)


@dataclass
class _Piece:
    """A piece of a reply, and what the server said along with it."""

    text: str = ""
    finish: str = ""
    prompt_tokens: int | None = None
    tokens: int | None = None


def reply(
    connection: Connection, messages: Messages, sampling: Sampling, check: Callable[[], None]
) -> Generator[str, None, Made]:
    """Stream one reply: pieces of text, then the whole with its figures.

    Args:
        connection: to the endpoint.
        messages: the conversation up to the reply.
        sampling: how the reply is made.
        check: called while waiting; raises when nobody waits any more.

    Raises:
        EndpointError: the endpoint can't be reached, refuses, or sends what can't be read.
    """
    loop = asyncio.new_event_loop()
    made = _Making()
    pieces = _pieces(connection, messages, sampling, retries=0)
    try:
        while (piece := _wait(loop, anext(pieces, None), check)) is not None:
            if text := made.add(piece):
                yield text
        return made.made()
    finally:
        loop.run_until_complete(pieces.aclose())
        _end(loop)


def replies(
    connection: Connection,
    questions: Sequence[Messages],
    sampling: Sampling,
    parallel: int,
    check: Callable[[], None],
) -> Generator[tuple[int, Made | Refusal], None, None]:
    """(number of the question, its reply) as they come, several asked at once. A busy server is asked again.

    Raises:
        EndpointError: as in `reply`, except that a refused prompt is no error but a `Refusal`.
    """
    loop = asyncio.new_event_loop()
    free = asyncio.Semaphore(parallel)

    async def ask(number: int, messages: Messages) -> tuple[int, Made | Refusal]:
        async with free:
            making = _Making()
            try:
                async with aclosing(_pieces(connection, messages, sampling, retries=5)) as pieces:
                    async for piece in pieces:
                        making.add(piece)
            except PromptRefusedError as error:
                return number, error.refusal
            return number, making.made()

    tasks = {loop.create_task(ask(number, messages)) for number, messages in enumerate(questions)}
    try:
        waiting = set(tasks)
        while waiting:
            first = asyncio.FIRST_COMPLETED
            done, waiting = loop.run_until_complete(asyncio.wait(waiting, timeout=LOOK_S, return_when=first))
            check()
            for task in done:
                yield task.result()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        _end(loop)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _wait(loop: asyncio.AbstractEventLoop, awaitable: Any, check: Callable[[], None]) -> Any:
    """The result of an awaitable; it is cancelled when `check` raises."""

    async def run() -> Any:
        return await awaitable

    task = loop.create_task(run())
    try:
        while not task.done():
            loop.run_until_complete(asyncio.wait({task}, timeout=LOOK_S))
            check()
    except BaseException:
        task.cancel()
        loop.run_until_complete(asyncio.wait({task}))
        raise
    return task.result()


class _Making:
    """A reply as it grows."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._text: list[str] = []
        self._characters = 0
        self._first_s: float | None = None
        self._finish = ""
        self._prompt_tokens: int | None = None
        self._tokens: int | None = None

    def add(self, piece: _Piece) -> str:
        """Take a piece over; returns its text as far as there is room for it."""
        text = piece.text[: MAX_CHARACTERS - self._characters]
        if text:
            self._first_s = self._first_s or time.perf_counter() - self._started
            self._text.append(text)
            self._characters += len(text)
        self._finish = piece.finish or self._finish
        self._prompt_tokens = piece.prompt_tokens if piece.prompt_tokens is not None else self._prompt_tokens
        self._tokens = piece.tokens if piece.tokens is not None else self._tokens
        return text

    def made(self) -> Made:
        seconds = time.perf_counter() - self._started
        return Made(
            text="".join(self._text),
            tokens=self._tokens,
            prompt_tokens=self._prompt_tokens,
            seconds=seconds,
            first_token_ms=1000 * (seconds if self._first_s is None else self._first_s),
            ended=ENDINGS.get(self._finish, self._finish or "cut off"),
        )


async def _pieces(
    connection: Connection, messages: Messages, sampling: Sampling, retries: int
) -> AsyncGenerator[_Piece, None]:
    """What the server streams; ends early once the reply is longer than any should be."""
    import httpx
    import openai

    timeout = httpx.Timeout(READ_S, connect=CONNECT_S)
    transport = httpx.AsyncHTTPTransport(uds=str(connection.socket)) if connection.socket else None
    characters = 0
    try:
        async with AsyncExitStack() as stack:
            http: Any = await stack.enter_async_context(
                httpx.AsyncClient(timeout=timeout, transport=transport)
            )
            key = connection.key
            client = openai.AsyncOpenAI(
                base_url=connection.base_url,
                api_key=key or "none",
                http_client=http,
                timeout=http.timeout,
                max_retries=retries,
            )
            asked = _request(connection, messages, sampling)
            try:
                stream = await _begin(client, asked)
            except openai.AuthenticationError:
                if connection.renewed is None:
                    raise
                await _renew(connection, key)
                stream = await _begin(client.with_options(api_key=connection.key), asked)
            await stack.enter_async_context(aclosing(stream.response))
            async for chunk in stream:
                piece = _read(chunk)
                yield piece
                characters += len(piece.text)
                if characters >= MAX_CHARACTERS:
                    return
    except (openai.OpenAIError, httpx.HTTPError, ValueError) as error:
        if isinstance(error, openai.NotFoundError | openai.APIConnectionError):
            await _refuse_deleted(connection)
        raise _explained(connection, error) from None  # the cause may hold the key


async def _renew(connection: Connection, refused: str) -> None:
    """Have another key than the refused one, unless another request has fetched it meanwhile."""
    assert connection.renewed is not None
    if connection.key == refused:
        connection.key = await asyncio.to_thread(connection.renewed)


async def _refuse_deleted(connection: Connection) -> None:
    """Raise for an endpoint in Azure that was deleted since its address was asked for."""
    if connection.renewed is None:
        return
    from core.azure.faults import AzureError

    try:
        await asyncio.to_thread(connection.renewed)
    except AzureError as error:
        if error.status == 404:
            name = connection.title.rpartition(" at ")[2]
            raise EndpointError(
                f"The endpoint azure:{name} is gone.",
                error.what,
                "`finetui azure endpoints` lists those that there are; `finetui azure deploy` makes one.",
            ) from None


def _request(connection: Connection, messages: Messages, sampling: Sampling) -> dict[str, Any]:
    """What is asked; only what differs from every server's default, since some refuse what they don't know."""
    asked: dict[str, Any] = {
        "model": connection.model,
        "messages": list(messages),
        "temperature": sampling.temperature,
        "max_tokens": sampling.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
        "extra_headers": _unsaid(connection),
    }
    if sampling.temperature > 0:
        asked["seed"] = sampling.seed
        if sampling.top_p < 1:
            asked["top_p"] = sampling.top_p
    if sampling.stop:
        asked["stop"] = list(sampling.stop)
    return asked


def _unsaid(connection: Connection) -> dict[str, Any]:
    """Headers that are left out: what the environment says of OpenAI is not everybody's business."""
    import openai

    names = ["OpenAI-Organization", "OpenAI-Project"]
    return dict.fromkeys(names if connection.key else [*names, "Authorization"], openai.Omit())


async def _begin(client: Any, asked: dict[str, Any]) -> Any:
    """The stream of a request; of two fields there are old and new forms, and a server says which it doesn't know."""
    import openai

    for _ in range(2):
        try:
            return await client.chat.completions.create(**asked)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            said = str(error)
            if "stream_options" in said and "stream_options" in asked:
                del asked["stream_options"]  # it then tells no tokens
            elif "max_completion_tokens" in said and "max_tokens" in asked:
                asked["max_completion_tokens"] = asked.pop("max_tokens")
            else:
                raise
    return await client.chat.completions.create(**asked)


def _read(chunk: Any) -> _Piece:
    """One event of the stream; the client doesn't check it: whatever has another type than it should is not taken."""
    piece = _Piece()
    usage = getattr(chunk, "usage", None)
    piece.prompt_tokens = _number(getattr(usage, "prompt_tokens", None))
    piece.tokens = _number(getattr(usage, "completion_tokens", None))
    choices = getattr(chunk, "choices", None)
    if isinstance(choices, list) and choices:
        content = getattr(getattr(choices[0], "delta", None), "content", None)
        finish = getattr(choices[0], "finish_reason", None)
        if isinstance(content, str):
            piece.text = content.encode("utf-8", "replace").decode()  # JSON may hold half a character
        piece.finish = finish if isinstance(finish, str) else ""
    return piece


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _explained(connection: Connection, error: Exception) -> EndpointError:
    """The error in its three parts, without the key, which servers like to repeat."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return EndpointError(f"{connection.title} does not answer.", "It took too long.", "Try again later.")
    if isinstance(error, openai.APIConnectionError):
        if connection.deployment and (removed := gone(connection.deployment)) is not None:
            return removed
        cause = _clean(connection, str(error.__cause__ or error))
        return EndpointError(
            f"{connection.title} can't be reached.", cause, "Check the address, and that the server runs."
        )
    if isinstance(error, openai.APIStatusError) and error.status_code in OF_THE_PROMPT:
        return PromptRefusedError(
            f"{connection.title} refuses ({error.status_code}).",
            _clean(connection, _message(error)),
            "Read its answer; change what it names.",
            error.code == FILTERED,
        )
    if isinstance(error, openai.APIStatusError):
        return EndpointError(
            f"{connection.title} refuses ({error.status_code}).",
            _clean(connection, _message(error)),
            FRESH_KEY_REFUSED
            if error.status_code == 401 and connection.renewed is not None
            else NEXT_STEPS.get(error.status_code, "Read its answer; change what it names."),
        )
    return EndpointError(
        f"{connection.title} broke off.",
        _clean(connection, f"{type(error).__name__}: {error}"),
        "Try again; if it stays so, its server is not OpenAI-compatible.",
    )


FRESH_KEY_REFUSED = (
    "The key was fetched just now: `finetui azure endpoints` shows the endpoint's state; `finetui azure rotate NAME` "
    "makes a new key."
)
NEXT_STEPS = {
    401: "Check the key in its environment variable.",
    403: "Check what the key is allowed to do.",
    404: "Check the address (it mostly ends in /v1) and the model's name.",
    429: "Wait a moment, then try again.",
}


def _message(error: Any) -> str:
    body = error.body
    found = body.get("message") if isinstance(body, dict) else None
    return found if isinstance(found, str) else str(error)


def _clean(connection: Connection, text: str) -> str:
    if connection.key:
        text = text.replace(connection.key, "[key]")
    return text if len(text) <= MAX_MESSAGE else text[:MAX_MESSAGE] + "..."
