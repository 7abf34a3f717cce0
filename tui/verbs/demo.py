"""`finetui demo`: the main job on the bundled sample, for real."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from core.data import samples
from core.recipe import Recipe, build
from tui.verbs.output import EXIT_FAILED, errors_told, interactive, out, say

MODEL = "smollm2-135m-instruct"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo_recipe() -> Recipe:
    """LoRA on the embedded model over the bundled sample: a few minutes on two CPU cores."""
    return build(
        {
            "name": "tidelamp-demo",
            "model": MODEL,
            "data": str(samples.train_path()),
            "validation": str(samples.validation_path()),
            "learning_rate": 2e-3,
            "schedule": "linear",
            "warmup": 0.05,
            "epochs": 4,
            "batch_size": 8,
            "sequence_length": 128,
            "evaluate_every": 6,
            "checkpoint_every": 12,
            "sample_prompts": [fact.probe for fact in samples.FACTS[:3]],
            "sample_max_tokens": 24,
        }
    )


def demo(plain: Annotated[bool, typer.Option("--plain", help="Lines instead of the app.")] = False) -> None:
    """Teach a small model facts about a made-up lantern, watch it learn, then ask the base and the tuned model."""
    with errors_told():
        from core.runs import supervisor
        from core.serving.targets import target
        from tui.verbs.chat import ask
        from tui.verbs.follow import follow
        from tui.verbs.train import submit

        wanted = demo_recipe()
        if interactive() and not plain:
            submit(wanted, detach=False, app=True, json=False)
            return
        row = supervisor.submit(wanted, samples.train_path().parent)
        say(f"Started {row.id}; base and tuned replies follow at the end.")
        code = follow(row.id)
        if code:
            raise typer.Exit(code)
        here = target(row.id)
        probes = [fact.probe for fact in samples.FACTS]
        settings = {"max_tokens": 40, "temperature": 0.0}
        sides = {"base": target(here.base_spec), "tuned": here}
        replies = asyncio.run(ask(sides, probes, here.system, settings))
        told = {
            side: sum(
                samples.signed(reply["text"]) and samples.knows(fact.name, reply["text"])
                for fact in samples.FACTS
                for reply in replies
                if reply["side"] == side and reply["prompt"] == fact.probe
            )
            for side in ("base", "tuned")
        }
        done = supervisor.get(row.id)
        out(f"\nvalidation loss  base {done.base_eval_loss:.4f}  tuned {done.eval_loss:.4f}")
        out(f"right and signed  base {told['base']} of {len(probes)}  tuned {told['tuned']} of {len(probes)}")
        if told["tuned"] <= told["base"]:
            say("The tuned model is no better than its base: that should not be.")
            raise typer.Exit(EXIT_FAILED)
