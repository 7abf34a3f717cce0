"""Replies for the check of refusals, in a process of its own: whole weights are loaded, all prompts computed at once.

    python -P -m core.serving.regression_worker

Request: `ask` a model, greedily. Chunks name the phases; the result holds the replies.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from core import pipes
from core.data.conversation import Message
from core.serving.judge_answers import near
from core.serving.judge_rows import Question
from core.serving.local_models import LocalSide, Models


class Asking:
    """The worker's state: the model that was asked last."""

    def __init__(self) -> None:
        self._models = Models()

    def ask(
        self, request: pipes.Request, side: dict[str, Any], prompts: list[str], max_tokens: int
    ) -> Generator[dict[str, str], None, dict[str, list[str]]]:
        """Load a model in place of the one before (`LocalSide.request`) and give its greedy replies to prompts."""
        wanted = LocalSide.of(side)
        for phase in self._models.load([wanted]):
            yield {"phase": phase}
            request.check()
        answer = near(self._models, wanted, max_tokens, request.check)
        questions = [Question("", text, (Message("user", text),), "", False) for text in prompts]
        work = answer(questions)
        while True:
            try:
                next(work)
            except StopIteration as end:
                return {"replies": [made.text if made is not None else "" for made in end.value]}


if __name__ == "__main__":
    pipes.serve({"ask": Asking().ask})
