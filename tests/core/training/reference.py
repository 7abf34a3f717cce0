"""A training loop written out by hand, to hold the engine against. Imports nothing of core/training.

Row by row: the model, an explicit shifted cross-entropy, gradients added up and divided by the step's trained
tokens, torch's clipping and AdamW, the schedule by its formula.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, set_seed

from core.data.conversation import Conversation
from core.data.rendering import Renderer
from core.data.rows import read_rows


def load(model: Path, *, rank: int, seed: int, lora_b: float = 0.0) -> Any:
    """The model with a fresh adapter; `lora_b` other than 0 fills B, so that A has a gradient from the start."""
    set_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    tuned = get_peft_model(base, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    if lora_b:
        fill_b(tuned, lora_b)
    return tuned


def fill_b(model: Any, scale: float) -> None:
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)


def rows_of(data: Path, model: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(ids, trained) of every row."""
    renderer = Renderer.from_folder(model)
    rows = []
    for item in read_rows(data):
        assert isinstance(item, Conversation)
        rendered = renderer.render(item)
        rows.append((torch.tensor(rendered.ids), torch.tensor(rendered.trained)))
    return rows


def learning_rate(step: int, steps: int, peak: float, warmup_steps: int, schedule: str) -> float:
    """Of the update after `step` earlier ones."""
    if step < warmup_steps:
        return peak * step / max(1, warmup_steps)
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return (
        peak * {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule]
    )


def train(
    model: Any,
    rows: list[tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    rows_per_step: int,
    peak: float,
    warmup: float,
    schedule: str,
    seed: int,
    max_norm: float = 1.0,
    weight_decay: float = 0.0,
) -> tuple[list[float], list[float]]:
    """(loss of each step, gradient norm of each step)."""
    parameters = [item for item in model.parameters() if item.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peak, weight_decay=weight_decay)
    epochs = math.ceil(steps * rows_per_step / len(rows))
    order = [
        int(i) for epoch in range(epochs) for i in np.random.default_rng([seed, epoch]).permutation(len(rows))
    ]
    losses, norms = [], []
    model.train()
    for step in range(steps):
        chosen = [rows[i] for i in order[step * rows_per_step : (step + 1) * rows_per_step]]
        tokens = sum(int(trained[1:].sum()) for _, trained in chosen)
        optimizer.zero_grad()
        loss = 0.0
        for ids, trained in chosen:
            logits = model(ids[None], use_cache=False).logits[0]
            each = -torch.log_softmax(logits[:-1].float(), dim=-1).gather(1, ids[1:, None])[:, 0]
            share = (each * trained[1:]).sum() / tokens
            share.backward()
            loss += float(share.detach())
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, max_norm)))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, round(warmup * steps), schedule)
        optimizer.step()
        losses.append(loss)
    return losses, norms
