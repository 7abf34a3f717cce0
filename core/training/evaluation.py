"""Measuring a model on the validation rows, and asking it for sample replies.

Both leave the random state as they found it, so that a run trains the same however often it is measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from core.data.rendering import Renderer
from core.training.cutting import cut
from core.training.inputs import Prompt
from core.training.loss import bare_model
from core.training.objectives import Objective
from core.training.rows import Rows


@dataclass(frozen=True)
class Measured:
    """What a model does on some rows.

    Args:
        loss: mean over all that is learned of them: trained tokens in nats, pairs or texts.
        rows: how many.
        trained_tokens: of these.
        duration_s: it took.
        metrics: what else the task's objective measures, by name.
    """

    loss: float
    rows: int
    trained_tokens: int
    duration_s: float
    metrics: dict[str, float]

    @property
    def perplexity(self) -> float | None:
        """The exponential of the loss, where that is one of tokens."""
        if "token_accuracy" not in self.metrics:
            return None
        return math.exp(self.loss) if self.loss < 700 else math.inf


@dataclass(frozen=True)
class Watch:
    """What is measured along the way.

    Args:
        rows: validation rows; may be empty.
        prompts: whose replies are shown at each evaluation.
        renderer: of the model.
        reply_tokens: longest sample reply.
        system: system message put before a prompt asked for by the user, or empty.
    """

    rows: Rows
    prompts: Sequence[Prompt]
    renderer: Renderer
    reply_tokens: int
    system: str


@contextmanager
def measuring(model: Any) -> Iterator[None]:
    """Evaluation mode, no gradients, and the random state put back afterwards."""
    was_training = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def evaluate(
    model: Any,
    objective: Objective,
    rows: Rows,
    budget: int,
    device: torch.device,
    long_from: int | None = None,
) -> Measured:
    """The loss on a set of rows, pack by pack: memory does not grow with the set.

    Args:
        model: in any mode, which is put back.
        objective: of the model's task.
        rows: to measure on, at least one.
        budget: tokens computed at once.
        device: of the model.
        long_from: see `tree.packs`.
    """
    started = time.perf_counter()
    with measuring(model):
        packs = cut(rows.rows, budget, long_from)
        metrics = objective.measure(objective.tensors(pack, device) for pack in packs)
    loss = metrics.pop("loss")
    return Measured(loss, len(rows.rows), rows.learned, time.perf_counter() - started, metrics)


def greedy_replies(
    model: Any, renderer: Renderer, prompts: Sequence[Prompt], max_tokens: int, device: torch.device
) -> list[tuple[str, int]]:
    """(reply, tokens) for each prompt, greedy, computed in one batch padded on the left."""
    encoded = [prompt.encoded(renderer) for prompt in prompts]
    longest = max(map(len, encoded))
    ids = torch.full((len(encoded), longest), renderer.pad_id, dtype=torch.int64)
    attention = torch.zeros_like(ids)
    for number, prompt_ids in enumerate(encoded):
        ids[number, longest - len(prompt_ids) :] = torch.tensor(prompt_ids)
        attention[number, longest - len(prompt_ids) :] = 1
    bare_model(model).set_attn_implementation("sdpa")
    with measuring(model):
        output = model.generate(
            input_ids=ids.to(device),
            attention_mask=attention.to(device),
            max_new_tokens=max_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            use_cache=True,
            eos_token_id=list(renderer.turn_end_ids),
            pad_token_id=renderer.pad_id,
        )
    return [_reply(renderer, tokens) for tokens in output[:, longest:].tolist()]


def _reply(renderer: Renderer, tokens: list[int]) -> tuple[str, int]:
    """The text up to the turn's end, and how many tokens it took, the end included."""
    for number, token in enumerate(tokens):
        if token in renderer.turn_end_ids:
            return renderer.decode(tokens[:number], skip_special=True).strip(), number + 1
    return renderer.decode(tokens, skip_special=True).strip(), len(tokens)
