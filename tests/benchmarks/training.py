"""Training speed of one epoch with the product's own trainer, as one JSON line.

    python -m tests.benchmarks.training --model DIR --data FILE --rows N [--batch 16] [--budget T] [--instruction N]
        [--length L]

Plain ChatML without a default system turn, LoRA of rank 16 on all linear layers, AdamW, float32 on a CPU.
`useful` tokens are those of the rows one by one, `computed` those that went through the model.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.data.conversation import Conversation, Message
from core.data.rendering import Rendered, Renderer
from core.data.rows import read_rows
from core.devices import prepare_to_compute
from core.recipe import Recipe, build
from core.training import adapters
from core.training.conductor import training_arguments
from core.training.dataset import Steps
from core.training.evaluation import Watch
from core.training.plan import choose_budget, make_plan
from core.training.rows import Example, Rows, make_rows
from core.training.setting_up import set_up
from core.training.trainer import StepTrainer
from core.work import Request

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>"
    "{% if m['role'] != 'assistant' %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INSTRUCTION = (
    "You answer questions about the shop's orders. Be brief and kind, never promise a date, and name the form that "
    "the customer has to fill in. "
)


class Recorded:
    """A run that keeps its events."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.device = "cpu"
        self.resume_from: Path | None = None
        self.ending_since: float | None = None
        self.events: list[Any] = []

    def emit(self, event: Any) -> None:
        self.events.append(event)

    def requests(self) -> Sequence[Request]:
        return ()


def matrix_gflops() -> float:
    """Billions of operations a second of this model's kind of product: 1024 tokens, 576 to 1536."""
    one, two = torch.randn(1024, 576), torch.randn(576, 1536)
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(60):
            one @ two
        best = max(best, 60 * 2 * 1024 * 576 * 1536 / (time.perf_counter() - started) / 1e9)
    return best


def load_rows(data: Path, count: int, instruction: int, renderer: Renderer, length: int = 2048) -> Rows:
    """The first rows, rendered; with an instruction of so many sentences in front if asked for."""
    rows = []
    for item in read_rows(data):
        if isinstance(item, Conversation) and len(rows) < count:
            system = Message("system", INSTRUCTION * instruction)
            rows.append(replace(item, messages=(system, *item.messages)) if instruction else item)
    rendered = [item for item in renderer.render_many(rows) if isinstance(item, Rendered)]
    assert len(rendered) == len(rows)
    return make_rows([Example((item,)) for item in rendered], length)


def flops_of_token(model: Any, trained_share: float) -> float:
    """Of a computed token: 4 x frozen linear weights, 6 x adapter weights, 4 x head x share of trained ones."""
    head = model.get_output_embeddings().weight.numel()
    adapter = sum(item.numel() for item in model.parameters() if item.requires_grad)
    frozen = sum(item.weight.numel() for name, item in model.named_modules() if name.endswith("base_layer"))
    return float(4 * frozen + 6 * adapter + 4 * head * trained_share)


def measure(recipe: Recipe, rows: Rows, renderer: Renderer, folder: Path) -> dict[str, Any]:
    """Train one epoch and time its steps."""
    run: Any = Recorded(folder)
    torch.manual_seed(0)
    ready = set_up(recipe, Path(recipe.model), "fp32", torch.device("cpu"), (), 0, folder / "first_values")
    model = ready.model
    plan = make_plan(len(rows.rows), recipe.value("batch_size"), 1.0, None, 0)
    steps = Steps(
        rows, plan, choose_budget(recipe, "cpu"), ready.objective.tensors, adapters.long_from(model)
    )
    trainer = StepTrainer(
        model=model,
        args=training_arguments(recipe, len(plan.steps), "fp32", folder, cpu=True),
        steps=steps,
        recipe=recipe,
        run=run,
        watch=Watch(Rows((), 0, 0), (), renderer, 1, ""),
        objective=ready.objective,
        keeper=Any,  # nothing is kept
    )
    trainer._save_checkpoint = lambda *_: None  # type: ignore[method-assign] # saving is not what is timed
    before = matrix_gflops()
    trainer.train()
    after = matrix_gflops()
    done = [event for event in run.events if event.kind == "step"]
    seconds = sum(event.duration_s for event in done)
    computed = sum(batch["computed"] for step in range(len(steps)) for batch in steps[step])
    gflops = (before + after) / 2
    flops = flops_of_token(model, rows.learned / computed)
    return {
        "rows": len(rows.rows),
        "real_tokens": rows.tokens,
        "computed_tokens": computed,
        "seconds": round(seconds, 2),
        "useful_tok_per_s": round(rows.tokens / seconds, 1),
        "computed_tok_per_s": round(computed / seconds, 1),
        "gemm_gflops": round(gflops, 1),
        "share_of_limit": round(flops * computed / seconds / gflops / 1e9, 3),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "losses": [round(event.loss, 4) for event in done],
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--instruction", type=int, default=0)
    parser.add_argument("--length", type=int, default=2048)
    asked = parser.parse_args()
    prepare_to_compute()
    values = {
        "model": asked.model,
        "data": [str(asked.data)],
        "batch_size": asked.batch,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup": 0.0,
    }
    recipe = build({**values, **({"token_budget": asked.budget} if asked.budget else {})})
    renderer = Renderer.from_folder(Path(asked.model), CHATML)
    rows = load_rows(asked.data, asked.rows, asked.instruction, renderer, asked.length)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(recipe, rows, renderer, Path(folder))))  # noqa: T201


if __name__ == "__main__":
    main()
