"""What each method costs and learns: the same rows and steps on SmolLM2-135M, each in a fresh process.

    python -P -m tests.benchmarks.methods MODEL_FOLDER

Prints a table: seconds for a step, memory above that of the imports, trained weights, and the loss on validation rows
before and after. The sample data of the demo; learning rates are each method's default.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from core.data.samples import train_path, validation_path
from core.devices import prepare_to_compute
from core.recipe import build

METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, recomputing": {"gradient_checkpointing": True},
    "rslora, rank 64": {"rslora": True, "rank": 64},
    "lora+": {"lora_plus_ratio": 8},
    "dora": {"dora": True},
    "pissa": {"init": "pissa"},
    "qlora nf4": {"quantization": "nf4"},
    "loftq": {"quantization": "nf4", "init": "loftq"},
    "qlora int8": {"quantization": "int8"},
    "ia3": {"method": "ia3"},
    "lora, last 8 layers": {"last_layers": 8},
    "full": {"method": "full"},
    "full, last 8 layers": {"method": "full", "last_layers": 8},
    "full, adamw_8bit": {"method": "full", "optimizer": "adamw_8bit"},
    "full, adafactor": {"method": "full", "optimizer": "adafactor"},
}
STEPS = 12
WARMUP = 0.05
"""One step of the twelve."""


def high_water() -> int:
    """Most memory this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    raise KeyError("VmHWM")


def measure(model: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Train in this process, which must not have imported torch yet."""
    prepare_to_compute()
    import core.training.job  # noqa: F401 - what a worker imports
    from core.backends.local import LocalBackend
    from tests.core.training.conftest import FolderRun

    before = high_water()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FINETUI_HOME"] = folder
        run = FolderRun(Path(folder) / "run")
        recipe = build(
            {
                "model": model,
                "data": str(train_path()),
                "validation": str(validation_path()),
                "max_steps": STEPS,
                "warmup": WARMUP,
                "batch_size": 8,
                "sample_prompts": [],
                "evaluate_every": STEPS,
                **changes,
            }
        )
        LocalBackend().train(recipe, run)
    steps, evaluated = run.of("step"), run.of("evaluated")
    return {
        "step_s": round(median(step.duration_s for step in steps[1:]), 2),
        "memory_mb": (high_water() - before) >> 20,
        "trained": run.of("planned")[0].trainable_parameters,
        "before": round(evaluated[0].loss, 3),
        "after": round(evaluated[-1].loss, 3),
    }


def main() -> None:
    """Measure one method where it is named, else all of them one after the other."""
    model, *named = sys.argv[1:]
    if named:
        print(json.dumps(measure(model, METHODS[named[0]])))  # noqa: T201
        return
    for name in METHODS:
        command = [sys.executable, "-P", "-m", "tests.benchmarks.methods", model, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        cells = (name, *(str(found[key]) for key in ("step_s", "memory_mb", "trained", "before", "after")))
        print("| " + " | ".join(cells) + " |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
