"""How the sides of a judgement answer: a model of this machine in batches, an endpoint several questions at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from itertools import islice

from core.serving.endpoint import Connection, Endpoint
from core.serving.judge import Answer, Answers
from core.serving.judge_rows import Question
from core.serving.local_models import LocalSide, Models
from core.serving.reply import Made, Refusal, Sampling

PARALLEL = 4
"""Requests that an endpoint gets at once."""

BATCH_TOKENS = 8192
"""Prompts and replies computed at once on this machine."""


def far(found: Endpoint, connection: Connection, max_tokens: int, check: Callable[[], None]) -> Answers:
    """An endpoint's answers.

    Args:
        found: the endpoint, for its prices.
        connection: to it.
        max_tokens: longest reply.
        check: raises when nobody waits any more.
    """
    from dataclasses import replace

    from core.serving.endpoint_client import replies

    def answer(questions: Sequence[Question]) -> Generator[None, None, list[Answer]]:
        asked = [
            [{"role": item.role, "content": item.content} for item in question.messages]
            for question in questions
        ]
        made: list[Answer] = [None] * len(asked)
        for number, reply in replies(connection, asked, Sampling(max_tokens=max_tokens), PARALLEL, check):
            if isinstance(reply, Refusal):
                made[number] = reply
            else:
                cost = found.cost_usd(reply.prompt_tokens, reply.tokens)
                made[number] = replace(reply, text=reply.text.strip(), cost_usd=cost)
            yield
        return made

    return answer


def near(models: Models, side: LocalSide, max_tokens: int, check: Callable[[], None]) -> Answers:
    """Answers of a model that is loaded.

    Args:
        models: in memory.
        side: which of them.
        max_tokens: longest reply.
        check: raises when nobody waits any more.
    """
    from core.training.budget import Budget
    from core.training.evaluation import greedy_replies
    from core.training.inputs import Prompt

    renderer = models.renderer(side)
    budget = Budget(BATCH_TOKENS)

    def answer(questions: Sequence[Question]) -> Generator[None, None, list[Answer]]:
        prompts = [Prompt(item.text, item.messages) for item in questions]
        sizes = [len(prompt.encoded(renderer)) for prompt in prompts]
        made: list[Answer] = [None] * len(prompts)
        with models.model(side) as model:
            limit = model.config.get_text_config().max_position_embeddings
            fitting = [number for number, size in enumerate(sizes) if size + max_tokens <= limit]
            waiting = iter(sorted(fitting, key=lambda number: -sizes[number]))

            def work(batch: list[int]) -> list[tuple[str, int]]:
                def compute(tokens: int) -> list[tuple[str, int]]:
                    at_once = max(1, len(batch) * tokens // BATCH_TOKENS)
                    found: list[tuple[str, int]] = []
                    for first in range(0, len(batch), at_once):
                        part = [prompts[number] for number in batch[first : first + at_once]]
                        found += greedy_replies(model, renderer, part, max_tokens, models.device)
                    return found

                return budget.spend(compute)

            while first := list(islice(waiting, 1)):
                check()
                longest = sizes[first[0]] + max_tokens
                batch = first + list(islice(waiting, max(0, BATCH_TOKENS // longest - 1)))
                began = time.perf_counter()
                replies = work(batch)
                each = (time.perf_counter() - began) / len(batch)
                for number, (text, tokens) in zip(batch, replies, strict=True):
                    ended = "length" if tokens >= max_tokens else "turn end"
                    made[number] = Made(text, tokens, sizes[number], each, 1000 * each, ended)
                yield
        return made

    return answer
