"""A worker with a backend that only counts: `python -P fake_worker.py RUN_DIRECTORY`.

The recipe's first sample prompt says how it behaves: `fail:<what>`, `die` (SIGKILL itself), or nothing special. It
steps until `max_steps`, writing a checkpoint every `checkpoint_every` steps and when it is asked to end.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path

from core.backends.base import BackendError
from core.events import Checkpointed, Evaluated, Planned, Step
from core.recipe import Recipe
from core.runs import worker
from core.work import Outcome, Run


class CountingBackend:
    """Trains nothing, but lives like a backend."""

    def train(self, recipe: Recipe, run: Run) -> Outcome:
        behaviour = (recipe.sample_prompts or [""])[0]
        (run.directory / "seen.txt").write_text(
            f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {'torch' in sys.modules}"
        )
        step = int((run.resume_from / "state.txt").read_text()) if run.resume_from else 0
        last = recipe.max_steps or 1
        run.emit(Planned(
            steps=last, epochs=1.0, rows=8, validation_rows=2, dropped_rows=0, cut_rows=0, tokens=80,
            trained_tokens=40, trainable_parameters=1, parameters=10,
        ))  # fmt: skip
        if step == 0:
            run.emit(Evaluated(step=0, loss=3.0, perplexity=20.1, rows=2, trained_tokens=10, duration_s=0.1))
        while step < last:
            step += 1
            misbehave(behaviour, run, step)
            run.emit(Step(
                step=step, epoch=step / last, loss=3.0 / step, learning_rate=1e-3, grad_norm=1.0, tokens=10,
                trained_tokens=5, tokens_per_s=100.0, memory_bytes=1, duration_s=0.1,
            ))  # fmt: skip
            verbs = [request.verb for request in run.requests()]
            if "stop" in verbs or "pause" in verbs:
                checkpoint = save(run, step)
                if "stop" in verbs:
                    return Outcome("stopped", step, save_model(run, step), checkpoint)
                return Outcome("paused", step, checkpoint=checkpoint)
            if recipe.checkpoint_every and step % recipe.checkpoint_every == 0:
                save(run, step)
            time.sleep(0.01)
        return Outcome("finished", step, save_model(run, step), loss=1.0, base_loss=3.0)


def save(run: Run, step: int) -> str:
    partial = run.partial_checkpoint(step)
    (partial / "state.txt").write_text(str(step))
    final = run.publish_checkpoint(partial, step)
    run.emit(Checkpointed(step=step, path=f"checkpoints/{final.name}", bytes=1))
    run.prune_checkpoints(2)
    return f"checkpoints/{final.name}"


def save_model(run: Run, step: int) -> str:
    partial = run.partial_model()
    (partial / "adapter.txt").write_text(str(step))
    return run.publish_model(partial).name


def misbehave(behaviour: str, run: Run, step: int) -> None:
    if not behaviour or step < 3:
        return
    if behaviour == "die":
        print("the last thing it said")  # noqa: T201 - goes to worker.log
        os.kill(os.getpid(), signal.SIGKILL)
    run.partial_checkpoint(step)
    match behaviour:
        case "fail:told":
            raise BackendError("Row 7 is too long.", "It has 9000 tokens.", "Cut it.")
        case "fail:memory":
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 1 GB"
            )
        case "fail:disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "adapter.safetensors")
        case "fail:bug":
            raise ZeroDivisionError("division by zero")


if __name__ == "__main__":
    sys.exit(worker.run(Path(sys.argv[1]), CountingBackend(), leaving=True))  # type: ignore[arg-type]
