"""Run directories with journals, made for tests through the same writers that real runs use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from core import events as e
from core import paths
from core.runs.directory import Meta, RunDirectory
from core.runs.journal import Journal
from core.runs.locks import Lock, take

T0 = 1_760_000_000.0
"""When the first run of a test was made: all times follow from it."""

PROMPT = "Where is my parcel [/foo] \x1b[31mred?"


def make_run(
    name: str, model: str = "smollm2-135m-instruct", created: float = T0, run_id: str | None = None
) -> RunDirectory:
    """An empty run directory."""
    folder = paths.make_private(paths.runs_dir() / (run_id or name))
    for part in ("control", "data", "checkpoints"):
        paths.make_private(folder / part)
    run = RunDirectory(folder)
    run.recipe_path.write_text(f"version: 1\nmodel: {model}\ndata: [{{path: /data/train.jsonl}}]\n")
    run.write_meta(
        Meta(
            id=run.id,
            name=name,
            created=created,
            model=model,
            backend="local",
            version="0.1.0",
            submitted_by="tester@box",
            queued_ns=int(created * 1e9),
        )
    )
    return run


def step(number: int, total: int, loss: float | None = None, time: float | None = None) -> e.Step:
    """A step of a run whose loss falls from 2.4 to 0.8."""
    value = 0.8 + 1.6 * math.exp(-6 * number / total) + 0.05 * math.sin(number * 1.7)
    return e.Step(
        time=T0 + 5 + number if time is None else time,
        step=number,
        epoch=3 * number / total,
        loss=value if loss is None else loss,
        learning_rate=2e-4 * (1 - number / total),
        grad_norm=0.4,
        tokens=2048,
        trained_tokens=700,
        tokens_per_s=41_000 + 900 * math.sin(number),
        memory_bytes=5_120_000_000,
        duration_s=1.0,
    )


def evaluation(number: int, total: int) -> list[e.Event]:
    """An evaluation and a sample reply."""
    loss = 0.9 + 1.5 * math.exp(-8 * number / total) + 0.1 * max(0.0, number / total - 0.8)
    reply = "I don't know." if number == 0 else "It left the depot [bold]today[/bold]."
    time = T0 + 5 + number
    return [
        e.Evaluated(
            time=time,
            step=number,
            loss=loss,
            perplexity=math.exp(loss),
            rows=6,
            trained_tokens=900,
            duration_s=1.5,
        ),
        e.Sampled(time=time, step=number, prompt=PROMPT, reply=reply, tokens=9, expected="It left today."),
    ]


def story(total: int, done: int, every: int = 10) -> list[e.Event]:
    """Events of a run from its queue to step `done`."""
    told: list[e.Event] = [
        e.Queued(time=T0, device="cpu", position=1),
        e.Starting(time=T0 + 1, phase="loading the model", device="cpu", pid=os.getpid()),
        e.Planned(
            time=T0 + 2,
            steps=total,
            epochs=3,
            rows=54,
            validation_rows=6,
            dropped_rows=0,
            cut_rows=1,
            tokens=123_456,
            trained_tokens=45_678,
            trainable_parameters=4_884_480,
            parameters=134_515_008,
        ),
        *evaluation(0, total),
    ]
    for number in range(1, done + 1):
        told.append(step(number, total))
        if number % every == 0:
            told += evaluation(number, total)
            told.append(
                e.Checkpointed(
                    time=T0 + 5 + number,
                    step=number,
                    path=f"checkpoints/step-{number}",
                    bytes=71_000_000,
                )
            )
    return told


def write(run: RunDirectory, events: Iterable[e.Event]) -> None:
    """Append to a run's journal."""
    with Journal(run.journal_path) as journal:
        for event in events:
            journal.append(event)


def running(run: RunDirectory) -> Lock:
    """Hold the run's lock, as its worker would: the supervisor takes it for alive until it is released."""
    lock = take(run.lock_path)
    assert lock is not None
    return lock


def some_runs() -> dict[str, RunDirectory]:
    """One run of each ended kind, and one that is lost."""
    ends: dict[str, tuple[str, int, e.Event | None]] = {
        "done-one": (
            "finished",
            40,
            e.Finished(time=T0 + 60, step=40, model="model", loss=0.9, base_loss=2.4, duration_s=55),
        ),
        "failed-phi": (
            "failed",
            31,
            e.Failed(
                time=T0 + 50,
                step=31,
                what="CUDA out of memory at step 31.",
                cause="One batch of 4 096 tokens; the estimate was made for 2 048.",
                next_step="Set batch_size: 4, then resume.",
            ),
        ),
        "stopped-one": (
            "stopped",
            20,
            e.Stopped(time=T0 + 40, step=20, model="model", checkpoint="checkpoints/step-20"),
        ),
        "paused-one": ("paused", 12, e.Paused(time=T0 + 30, step=12, checkpoint="checkpoints/step-12")),
        "lost-one": ("lost", 15, None),
    }
    made = {}
    for age, (name, (_, done, end)) in enumerate(ends.items()):
        run = made[name] = make_run(
            name, "phi-4-mini-instruct" if "phi" in name else "smollm2-135m-instruct", T0 - 86400 * age
        )
        write(run, [*story(40, done), *([end] if end else [])])
    made["lost-one"].log_path.write_text("Traceback (most recent call last):\nMemoryError\n")
    return made
