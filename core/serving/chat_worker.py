"""Replies of the sides of a chat, in a process of its own.

    python -P -m core.serving.chat_worker

Requests: `load` the sides by name, each a model on this machine or an endpoint (`Target.request`, `Endpoint.request`);
`reply` to a conversation from one of them; `judge` two of them on the same questions.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core import pipes
from core.errors import FinetuiError
from core.serving import endpoint
from core.serving.endpoint import Connection, Endpoint
from core.serving.in_azure import priced
from core.serving.local_models import LocalSide, Models
from core.serving.reply import Made, Sampling, Stops

if TYPE_CHECKING:
    from core.azure.session import Session

MAX_REPLY_TOKENS = 4096


class ChatError(FinetuiError):
    """A reply can't be given."""


class Chat:
    """The worker's state: the sides that were loaded last.

    Attributes:
        models: those on this machine.
        local: sides on this machine, by name.
        remote: sides behind an address, by name.
        azure: the sign-in to Azure, from the first endpoint there on.
    """

    def __init__(self) -> None:
        self.models = Models()
        self.local: dict[str, LocalSide] = {}
        self.remote: dict[str, tuple[Endpoint, Connection]] = {}
        self.azure: Session | None = None

    def load(
        self, request: pipes.Request, sides: dict[str, dict[str, Any]]
    ) -> Generator[dict[str, str], None, dict[str, Any]]:
        """Load sides in place of those that were loaded, what they share once; chunks name the phases."""
        started = time.perf_counter()
        self.local, self.remote = {}, {}
        local = {name: LocalSide.of(side) for name, side in sides.items() if "endpoint" not in side}
        remote: dict[str, tuple[Endpoint, Connection]] = {}
        for name in sides.keys() - local.keys():
            yield {"phase": f"connecting {name}"}
            found = endpoint.parse(sides[name]["endpoint"])
            if found.kind == "azure":
                yield from self._sign_in(request)
            remote[name] = priced(found), endpoint.connect(found, self.azure.azure if self.azure else None)
        if local:
            for phase in self.models.load(list(local.values())):
                yield {"phase": phase}
                request.check()
        else:
            self.models.forget()
        self.local, self.remote = local, remote
        device = str(self.models.device) if local else ""
        return {"device": device, "seconds": time.perf_counter() - started}

    def _sign_in(self, request: pipes.Request) -> Generator[dict[str, str], None, None]:
        """Be signed in to Azure; while a code has to be typed the chunks have its `url` and `code`."""
        from core.azure.session import Session

        self.azure = self.azure or Session()
        for shown in self.azure.ensure(request.check):
            yield {"phase": f"waiting for the code {shown['code']} at {shown['url']}", **shown}
        yield {"phase": "asking Azure for the key"}

    def reply(
        self,
        request: pipes.Request,
        messages: list[dict[str, str]],
        side: str,
        stop: tuple[str, ...] = (),
        **sampling: Any,
    ) -> Generator[dict[str, str], None, dict[str, Any]]:
        """Stream one reply: chunks of text, then the whole with its figures (`Made`). For `sampling` see `Sampling`."""
        wanted = Sampling(stop=tuple(stop), **sampling)
        if side in self.remote:
            return (yield from self._far(request, messages, side, wanted))
        if side not in self.local:
            raise ChatError("No model is loaded.", "", "Choose a run first.")
        made = yield from self._near(request, messages, self.local[side], wanted)
        return made.as_dict()

    def _far(
        self, request: pipes.Request, messages: list[dict[str, str]], side: str, sampling: Sampling
    ) -> Generator[dict[str, str], None, dict[str, Any]]:
        from core.serving.endpoint_client import reply

        found, connection = self.remote[side]
        pieces = reply(connection, messages, sampling, request.check)
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                made: Made = end.value
                cost = found.cost_usd(made.prompt_tokens, made.tokens)
                return {**made.as_dict(), "cost_usd": cost}
            yield {"text": piece}

    def _near(
        self, request: pipes.Request, messages: list[dict[str, str]], side: LocalSide, sampling: Sampling
    ) -> Generator[dict[str, str], None, Made]:
        import torch

        from core.data.conversation import Message
        from core.training.streaming import stream

        renderer = self.models.renderer(side)
        _, ids = renderer.render_prompt(tuple(Message(item["role"], item["content"]) for item in messages))
        torch.manual_seed(sampling.seed)
        started = time.perf_counter()
        first_s = 0.0
        text, tokens, ended = "", 0, "length"
        stops = Stops(sampling.stop)
        with self.models.model(side) as model:
            limit = model.config.get_text_config().max_position_embeddings
            if len(ids) >= limit:
                raise ChatError(
                    f"The conversation has {len(ids)} tokens; the model takes {limit}.",
                    "",
                    "Start a new chat (x), or shorten it.",
                )
            for piece in stream(
                model,
                renderer,
                ids,
                self.models.device,
                max_tokens=min(sampling.max_tokens, MAX_REPLY_TOKENS, limit - len(ids)),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
            ):
                request.check()
                first_s = first_s or time.perf_counter() - started
                tokens, ended = piece.tokens, piece.ended
                if shown := stops.feed(piece.text):
                    text += shown
                    yield {"text": shown}
                if stops.stopped:
                    ended = "turn end"
                    break
        if rest := stops.rest():
            text += rest
            yield {"text": rest}
        seconds = time.perf_counter() - started
        return Made(text, tokens, len(ids), seconds, first_s * 1000, ended)

    def judge(
        self, request: pipes.Request, sides: dict[str, dict[str, Any]], wanted: dict[str, Any]
    ) -> Generator[dict[str, Any], None, dict[str, Any]]:
        """Hold A and B against each other; chunks are `judge.Progress`, the result is what was kept.

        The questions are read before the models are loaded.

        For `wanted` see `judge.Wanted`, its paths as texts.
        """
        from core.serving import judge_answers
        from core.serving.judge import Answers, Progress, Wanted, judge, questions

        paths = {name: Path(wanted[name]) if wanted[name] else None for name in ("run", "data", "prompts")}
        how = Wanted(**{**wanted, **paths})
        yield asdict(Progress("reading the rows"))
        asked = questions(how)
        for chunk in self.load(request, sides):
            yield asdict(Progress(chunk["phase"]))
        answers: dict[str, Answers] = {}
        for name in sides:
            if name in self.remote:
                answers[name] = judge_answers.far(*self.remote[name], how.max_tokens, request.check)
            else:
                answers[name] = judge_answers.near(
                    self.models, self.local[name], how.max_tokens, request.check
                )
        work = judge(how, asked, answers)
        while True:
            try:
                progress = next(work)
            except StopIteration as end:
                result: dict[str, Any] = end.value
                return result
            yield asdict(progress)


if __name__ == "__main__":
    chat = Chat()
    pipes.serve({"load": chat.load, "reply": chat.reply, "judge": chat.judge})
