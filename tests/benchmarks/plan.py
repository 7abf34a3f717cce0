"""The plan's time and memory beside those of whole short runs: `python -m tests.benchmarks plan`.

Each recipe is planned as `finetui plan` does, with its short measurement, then trained whole in a process of its own.
Each pair is planned / measured, in seconds; memory is that above the imports. On two quiet cores it takes some six
minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from core.catalog.reference import cached, resolve
from core.devices import prepare_to_compute
from tests.benchmarks.engine import DATA, conversations, say, write

RECIPES: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "LoRA, long rows": {"sequence_length": 1024, "batch_size": 4, "accumulation": 1, "token_budget": 2048},
    "LoRA, recomputed": {"gradient_checkpointing": True},
    "QLoRA": {"quantization": "nf4"},
    "full": {"method": "full", "learning_rate": 1e-5},
}
COMMON: dict[str, Any] = {
    "batch_size": 8,
    "accumulation": 1,
    "epochs": 1.0,
    "evaluate_every": 4,
    "sample_max_tokens": 16,
    "sample_prompts": ["What is a bridge?"],
}


def main() -> None:
    """Print the table."""
    model = cached(resolve("smollm2-135m-instruct"))
    if model is None or not DATA.exists():
        say(f"needs smollm2-135m-instruct on this machine (`make demo`) and {DATA}")
        return
    say(
        "| recipe | steps | time planned | measured | | start | steps | evaluations | replies | saving | memory |"
    )
    say("|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        rows = conversations()
        data = {
            "data": str(write(Path(folder) / "train.jsonl", rows[:32])),
            "validation": str(write(Path(folder) / "validation.jsonl", rows[64:72])),
        }
        for name, changes in RECIPES.items():
            recipe = {"model": str(model), **data, **COMMON, **changes}
            say(_line(name, recipe, Path(folder) / name.replace(" ", "-")))


def _line(name: str, recipe: dict[str, Any], folder: Path) -> str:
    planned, found = _run("plan", recipe, folder), _run("train", recipe, folder)
    total = sum(planned[part] for part in PARTS)
    parts = " | ".join(f"{planned[part]:.0f} / {found[part]:.0f}" for part in PARTS)
    memory = f"{planned['peak_bytes'] / 1e9:.1f} / {found['peak_bytes'] / 1e9:.1f} GB"
    times = f"{total:.0f} s | {found['total_s']:.0f} s | {total / found['total_s']:.2f}"
    return f"| {name} | {found['steps']} | {times} | {parts} | {memory} |"


PARTS = ("start_s", "train_s", "evaluate_s", "samples_s", "save_s")


def _run(part: str, recipe: dict[str, Any], folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "tests.benchmarks.plan", part, json.dumps(recipe), str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "total_s": time.perf_counter() - started}


def plan(content: dict[str, Any]) -> dict[str, float]:
    """The parts of a recipe's planned time, and its planned peak."""
    from core.backends.local import LocalBackend
    from core.recipe import build
    from core.training.memory import PROCESS_BYTES

    recipe = build(content)
    sizes = LocalBackend().check(recipe).estimate
    assert sizes is not None
    timed = LocalBackend().time(recipe, sizes)
    above = sizes.peak_bytes - PROCESS_BYTES
    return {**{part: getattr(timed, part) for part in PARTS}, "peak_bytes": above}


def train(content: dict[str, Any], folder: Path) -> dict[str, float]:
    """The parts of a whole run's time, and its peak."""
    started = time.perf_counter()
    prepare_to_compute()
    import core.training.job  # noqa: F401 - what a worker imports
    from core.backends.local import LocalBackend
    from core.events import Event
    from core.recipe import build
    from core.runs import manifest
    from tests.core.training.conftest import FolderRun
    from tests.core.training.memory_probe import status

    imports = status("VmHWM")
    times: list[tuple[str, float]] = []

    class TimedRun(FolderRun):
        def emit(self, event: Event) -> None:
            super().emit(event)
            times.append((event.kind, time.perf_counter()))

        def publish_checkpoint(self, partial: Path, step: int) -> Path:
            manifest.write(partial, {})
            return super().publish_checkpoint(partial, step)

        def publish_model(self, partial: Path) -> Path:
            manifest.write(partial, {})
            return super().publish_model(partial)

    run = TimedRun(folder)
    LocalBackend().train(build(content), run)
    evaluated, steps = run.of("evaluated"), run.of("step")
    times.append(("finished", time.perf_counter()))

    def spent(*kinds: str) -> float:
        return sum(
            now - before for (_, before), (kind, now) in zip(times, times[1:], strict=False) if kind in kinds
        )

    measuring = next(at for kind, at in times if kind == "planned")
    return {
        "steps": len(steps),
        "start_s": measuring - started,
        "train_s": sum(event.duration_s for event in steps),
        "evaluate_s": sum(event.duration_s for event in evaluated),
        "samples_s": spent("sampled"),
        "save_s": spent("checkpointed", "finished"),
        "peak_bytes": status("VmHWM") - imports,
    }


if __name__ == "__main__":
    asked = json.loads(sys.argv[2])
    answer = plan(asked) if sys.argv[1] == "plan" else train(asked, Path(sys.argv[3]))
    say(json.dumps(answer))
