"""Replies of a base model and its tuned twin, in a process of their own.

    python -P -m core.serving.chat_worker

Requests: `load` a model folder with what was trained from it; `reply` to a conversation from the `base` or the `tuned`
side. With an adapter both sides share one set of weights: the base is the tuned model with its adapter switched off.
Whole weights are a second model beside the base.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import devices, pipes
from core.errors import FinetuiError

MAX_REPLY_TOKENS = 4096


class ChatError(FinetuiError):
    """A reply can't be given."""


@dataclass
class Loaded:
    """The models in memory; without a base of its own the tuned one has an adapter to switch off."""

    tuned: Any
    base: Any | None
    renderer: Any
    device: Any

    @contextlib.contextmanager
    def side(self, name: str) -> Iterator[Any]:
        """The model of the `base` or the `tuned` side."""
        if name == "base" and self.base is None:
            with self.tuned.disable_adapter():
                yield self.tuned
        else:
            yield self.base if name == "base" else self.tuned


class Chat:
    """The worker's state: at most one model."""

    def __init__(self) -> None:
        self.loaded: Loaded | None = None

    def load(
        self, request: pipes.Request, model_folder: str, adapter: str
    ) -> Generator[dict[str, str], None, dict[str, Any]]:
        """Load a base model and what was trained from it (an adapter or whole weights) in place of what was loaded;
        chunks name the phases."""
        started = time.perf_counter()
        self.loaded = None
        yield {"phase": "starting torch"}
        devices.prepare_to_compute()
        from core.data.rendering import Renderer
        from core.recipe import build
        from core.training.adapters import (
            choose_precision,
            is_adapter,
            load_adapter,
            load_base,
            use_device,
        )

        request.check()
        yield {"phase": "loading the model"}
        free = [gpu for gpu in devices.gpus() if gpu.free_bytes > 0]
        device = use_device(max(free, key=lambda gpu: gpu.free_bytes).device if free else "cpu")
        precision = choose_precision(build({"model": model_folder, "data": "-"}), device)
        base = load_base(Path(model_folder), precision, device)
        request.check()
        trained, renderer = Path(adapter), Renderer.from_folder(Path(adapter))
        if is_adapter(trained):
            yield {"phase": "loading the adapter"}
            self.loaded = Loaded(load_adapter(base, trained), None, renderer, device)
        else:
            yield {"phase": "loading the tuned weights"}
            self.loaded = Loaded(load_base(trained, precision, device), base, renderer, device)
        return {"device": str(device), "seconds": time.perf_counter() - started}

    def reply(
        self,
        request: pipes.Request,
        messages: list[dict[str, str]],
        side: str,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 42,
    ) -> Generator[dict[str, str], None, dict[str, Any]]:
        """Stream one reply: chunks of text, then the whole with its figures. Temperature 0 is greedy."""
        import torch

        from core.data.conversation import Message
        from core.training.streaming import stream

        if self.loaded is None:
            raise ChatError("No model is loaded.", "", "Choose a run first.")
        here = self.loaded
        _, ids = here.renderer.render_prompt(
            tuple(Message(item["role"], item["content"]) for item in messages)
        )
        limit = here.tuned.config.max_position_embeddings
        if len(ids) >= limit:
            raise ChatError(
                f"The conversation has {len(ids)} tokens; the model takes {limit}.",
                "",
                "Clear the conversation.",
            )
        torch.manual_seed(seed)
        started = time.perf_counter()
        first_s = 0.0
        text, tokens, ended = "", 0, "length"
        with here.side(side) as model:
            for piece in stream(
                model,
                here.renderer,
                ids,
                here.device,
                max_tokens=min(max_tokens, MAX_REPLY_TOKENS, limit - len(ids)),
                temperature=temperature,
                top_p=top_p,
            ):
                request.check()
                first_s = first_s or time.perf_counter() - started
                tokens, ended = piece.tokens, piece.ended
                if piece.text:
                    text += piece.text
                    yield {"text": piece.text}
        seconds = time.perf_counter() - started
        return {
            "text": text,
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "first_token_ms": first_s * 1000,
            "ended": ended,
        }


if __name__ == "__main__":
    chat = Chat()
    pipes.serve({"load": chat.load, "reply": chat.reply})
