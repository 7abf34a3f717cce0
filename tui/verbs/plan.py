"""`finetui plan`: everything a recipe will take, before anything is spent."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from core.backends.base import Checked
from core.command import RECIPE_SUFFIXES
from core.recipe import Recipe
from core.work import Estimate, TimePlan
from tui.format import count, duration, size
from tui.verbs.output import errors_told, out, out_json, say
from tui.verbs.train import from_files, tell_problems, with_settings


def register(app: typer.Typer) -> None:
    """Add the verb, with an option for every setting."""
    app.command("plan")(with_settings(plan))


def plan(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE.yaml | DATA...", help="A recipe, or files of rows.", show_default=False
        ),
    ],
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Train for some seconds to know how long it takes.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    **settings: Any,
) -> None:
    """Rows, tokens, steps, memory, disk and time of a recipe, each with what it is made of.

    Ends with 2 when the recipe can't be trained; too little memory names the nearest recipe that fits.
    """
    with errors_told():
        wanted = from_files(files, settings)
        from core.backends import get

        backend = get(wanted.value("backend"))
        checked = backend.check(wanted)
        times = None
        if measure and checked.estimate and not checked.errors:
            say("Measuring the speed: a short training that is thrown away ...")
            times = backend.time(wanted, checked.estimate)
        if json:
            from tui.verbs.azure_text import remote_data

            price = {"price": remote_data(wanted, checked.remote)} if checked.remote else {}
            out_json({**_as_data(checked, times), **price})
        else:
            tell_problems(checked)
            out(_model(wanted, files, settings))
            for line in lines(checked.estimate, times) if checked.estimate else []:
                out(line)
            if checked.remote:
                from tui.verbs.azure_text import remote_lines, tell_note

                tell_note()
                for line in remote_lines(wanted, checked.remote):
                    out(line)
        raise typer.Exit(2 if checked.errors else 0)


def _as_data(checked: Checked, times: TimePlan | None) -> dict[str, Any]:
    seconds = {**asdict(times), "total_s": times.total_s} if times else None
    return {**asdict(checked), "time": seconds}


def _model(wanted: Recipe, files: list[Path], settings: dict[str, Any]) -> str:
    """The model as a line, and whether nobody has named it."""
    named = files[0].suffix in RECIPE_SUFFIXES or settings.get("model")
    return f"model     {wanted.model}{'' if named else ', since none is named: `--model` names another'}"


def lines(sizes: Estimate, times: TimePlan | None) -> list[str]:
    """A plan as lines: what, how much, and what it is made of."""
    about = f", from the first {count(sizes.sampled_rows)} rows" if sizes.sampled_rows else ""
    held = f", {count(sizes.validation_rows)} more for validation" if sizes.validation_rows else ""
    found = [
        ("steps", count(sizes.steps), f"{count(sizes.rows)} row{'s' if sizes.rows != 1 else ''}{held}"),
        (
            "tokens",
            count(sizes.tokens),
            f"{count(sizes.trained_tokens)} trained, {count(sizes.computed_tokens)} computed{about}",
        ),
        (
            "trained",
            count(sizes.trainable_parameters),
            f"of {count(sizes.parameters)} parameters",
        ),
        ("memory", size(sizes.peak_bytes), f"{size(sizes.available_bytes)} free on {sizes.device}"),
        *(("", size(amount), what) for what, amount in memory_terms(sizes)),
        ("disk", size(sizes.disk_bytes), f"{size(sizes.free_disk_bytes)} free"),
        (
            "",
            size(sizes.checkpoint_bytes),
            f"a checkpoint, up to {sizes.checkpoints} at a time, and the model",
        ),
    ]
    if times:
        found += [
            ("time", duration(times.total_s), f"{count(times.tokens_per_s)} tokens/s, measured just now"),
            ("", duration(times.start_s), "start"),
            ("", duration(times.train_s), "training"),
            ("", duration(times.evaluate_s), "evaluation"),
            ("", duration(times.samples_s), "sample replies, at most"),
            ("", duration(times.save_s), "checkpoints and the model, written"),
        ]
    return [f"{name:<8} {amount:>12}  {words}" for name, amount, words in found]


def memory_terms(sizes: Estimate) -> list[tuple[str, int]]:
    """What the peak is made of: (words, bytes)."""
    process = [("the process", sizes.process_bytes)] if sizes.process_bytes else []
    if sizes.process_bytes + sizes.loading_bytes >= sizes.peak_bytes:
        return [*process, ("weights and their file, while loading", sizes.loading_bytes)]
    return [
        *process,
        ("weights", sizes.weights_bytes),
        ("adapter, its gradients and optimiser", sizes.adapter_bytes),
        (f"activations of {count(sizes.pack_tokens)} tokens at once", sizes.activation_bytes),
        ("output head", sizes.head_bytes),
    ]
