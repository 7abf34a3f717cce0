"""What a run will take and what stands against it, as paragraphs: the pane "Before you start"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.style import Style
from rich.text import Text

from core.backends.base import RecipeProblem
from core.recipe import Recipe
from core.source import is_asset
from core.work import Estimate, RemoteEstimate, TimePlan
from tui.azure_lists import per_hour, per_million
from tui.azure_text import from_form
from tui.format import ascii_only, count, duration, money, short, size, visible
from tui.rowtext import Styles
from tui.widgets.reading import BLANK, Paragraph

BAR_CELLS = 20
LABEL_WIDTH = 9


def bar(share: float) -> str:
    """A share of 1 as a bar."""
    full, empty = ("#", ".") if ascii_only() else ("▇", "▁")
    filled = round(min(1.0, max(0.0, share)) * BAR_CELLS)
    return full * filled + empty * (BAR_CELLS - filled)


def estimate_lines(estimate: Estimate, styles: Styles) -> list[Paragraph]:
    """Memory, steps, tokens, disk and what is trained."""
    memory_share = estimate.peak_bytes / max(1, estimate.available_bytes)
    disk_share = estimate.disk_bytes / max(1, estimate.free_disk_bytes)
    rows_text = f"{count(estimate.steps)}   from {count(estimate.rows)} rows"
    if estimate.validation_rows:
        rows_text += f", {count(estimate.validation_rows)} for validation"
    tokens_text = f"{'about ' if estimate.sampled_rows else ''}{count(estimate.tokens)}"
    trained_share = 100 * estimate.trainable_parameters / max(1, estimate.parameters)
    rows = [
        ("Device", estimate.device),
        ("Memory", f"{bar(memory_share)}  {size(estimate.peak_bytes)} of {size(estimate.available_bytes)}"),
        ("", f"weights {size(estimate.weights_bytes)}, activations {size(estimate.activation_bytes)}"),
        ("", f"adapter {size(estimate.adapter_bytes)}, head {size(estimate.head_bytes)}"),
        ("Disk", f"{bar(disk_share)}  {size(estimate.disk_bytes)} of {size(estimate.free_disk_bytes)}"),
        ("Steps", rows_text),
        ("Tokens", f"{tokens_text}, longest row {count(estimate.longest_row)}"),
        (
            "Trained",
            f"{short(estimate.trainable_parameters)} of {short(estimate.parameters)} parameters"
            f" ({trained_share:.2g} %)",
        ),
    ]
    lines = [_row(label, text, styles, memory_share > 1 and label == "Memory") for label, text in rows]
    for number, words in (
        (estimate.cut_rows, "are longer and will be cut"),
        (estimate.dropped_rows, "have nothing to learn and are left out"),
    ):
        if number:
            lines.append(Paragraph(Text.assemble(("! ", styles.warning), f"{count(number)} rows {words}")))
    return lines


def remote_lines(sizes: RemoteEstimate, quotes: dict[str, Any] | None, styles: Styles) -> list[Paragraph]:
    """Rows, tokens and price of a run in Azure, each price with the meter it was found under.

    Args:
        sizes: what is sent.
        quotes: prices by their kind; None while they are asked for.
        styles: of the text.
    """
    held = f", {count(sizes.validation_rows)} for validation" if sizes.validation_rows else ""
    whose = "by the recipe" if sizes.epochs_from == "recipe" else "the service's own"
    times = f"{sizes.epochs:g} epoch{'' if sizes.epochs == 1 else 's'}"
    tokens = f"{count(sizes.tokens)} x {times} ({whose}) = {count(sizes.billed_tokens)}"
    how = (
        "counted by the model's tokenizer"
        if sizes.counted == "tokenizer"
        else "about: four characters a token"
    )
    if sizes.sampled_rows:
        how += f", from {count(sizes.sampled_rows)} rows"
    rows = [("Rows", f"{count(sizes.rows)} to train on{held}", ""), ("Tokens", tokens, how)]
    if quotes is None:
        rows.append(("Price", "asking the public price list ...", ""))
        return [line for row in rows for line in _priced(*row, styles)]
    training = quotes["training"]
    spent = (
        f"{money(_cost(sizes, training), training['currency'])}, at "
        if training["amount"] is not None
        else ""
    )
    rows += [
        ("Training", f"{spent}{per_million(training)}", training["meter"]),
        ("Endpoint", f"{per_hour(quotes['hosting'])}, once deployed", quotes["hosting"]["meter"]),
        ("Prompts", per_million(quotes["input"]), quotes["input"]["meter"]),
        ("Replies", per_million(quotes["output"]), quotes["output"]["meter"]),
        ("Prices", f"Azure's public list, asked {training['asked']}; your contract may have others", ""),
    ]
    return [line for row in rows for line in _priced(*row, styles)]


def _priced(label: str, text: str, about: str, styles: Styles) -> list[Paragraph]:
    lines = [_row(label, text, styles, False)]
    if about:
        lines.append(Paragraph(Text(visible(about), styles.muted), indent=LABEL_WIDTH))
    return lines


def _cost(sizes: RemoteEstimate, training: dict[str, Any]) -> float:
    return float(training["amount"] * sizes.billed_tokens / training["per"])


def spends(recipe: Recipe, sizes: RemoteEstimate | None, quotes: dict[str, Any]) -> str:
    """What a run in Azure costs and sends, before it is sent.

    Args:
        recipe: of the run.
        sizes: its rows and tokens; None where these lie in Azure and nobody has looked at them from here.
        quotes: prices by their kind.
    """
    training = quotes["training"]
    if sizes is None:
        price = "What it costs is unknown: its rows lie in Azure and were not counted here."
        if training["amount"] is not None:
            price += f" Training costs {per_million(training)}."
    elif training["amount"] is None:
        tokens = count(sizes.billed_tokens)
        price = f"What training on {tokens} tokens costs is unknown: {training['why']}."
    else:
        about = "" if sizes.counted == "tokenizer" and not sizes.sampled_rows else "about "
        amount = money(_cost(sizes, training), training["currency"])
        price = f"Training on {about}{count(sizes.billed_tokens)} tokens costs {about}{amount}."
    return f"{price} {_uploads(recipe, sizes)} The tuned model costs next to nothing until it is deployed."


def _uploads(recipe: Recipe, sizes: RemoteEstimate | None) -> str:
    """Which rows leave this machine; those of a data asset are in Azure already."""
    trained_there = any(source.asset for source in recipe.data)
    measured_there = bool(recipe.validation and is_asset(recipe.validation))
    if trained_there and (measured_there or not recipe.validation):
        return "Nothing is uploaded: the rows are in Azure."
    if sizes is None:
        return "The validation rows are uploaded to the project's storage."
    sent = (0 if trained_there else sizes.rows) + (0 if measured_there else sizes.validation_rows)
    there = "the others are in Azure" if trained_there or measured_there else ""
    words = f"{count(sent)} rows are uploaded to the project's storage"
    return f"{words}; {there}." if there else f"{words}."


def time_lines(times: TimePlan, styles: Styles) -> list[Paragraph]:
    """How long a run will take, and what of."""
    rows = [
        ("Time", f"{duration(times.total_s)}   {count(times.tokens_per_s)} tokens/s, measured just now"),
        ("", f"training {duration(times.train_s)}, evaluation {duration(times.evaluate_s)}"),
        ("", f"samples up to {duration(times.samples_s)}, saving {duration(times.save_s)}"),
    ]
    return [_row(label, text, styles, False) for label, text in rows]


def _row(label: str, text: str, styles: Styles, alarming: bool) -> Paragraph:
    return Paragraph(
        Text.assemble(
            (f"{label:<{LABEL_WIDTH}}", styles.muted), (visible(text), styles.error if alarming else Style())
        )
    )


def asked(problems: Sequence[RecipeProblem], ready: bool | None) -> list[RecipeProblem]:
    """The problems, with what Azure's checklist found in place of the warning that Azure was not asked.

    Args:
        problems: of a recipe.
        ready: whether the checklist found all that its model needs; None where it was not asked.
    """
    unasked = ("warning", "backend")
    if ready is None or unasked not in [(problem.severity, problem.key) for problem in problems]:
        return list(problems)
    kept = [problem for problem in problems if (problem.severity, problem.key) != unasked]
    if not ready:
        words = "Azure lacks something that the run needs."
        kept.append(RecipeProblem("warning", "backend", words, "`finetui azure check` says what."))
    return kept


def check_lines(problems: Sequence[RecipeProblem], styles: Styles) -> list[Paragraph]:
    """Each problem with its remedy; a word when there is none."""
    if not problems:
        return [Paragraph(Text.assemble(("✓ ", styles.trained), "nothing stands against it"))]
    lines = []
    for problem in problems:
        error = problem.severity == "error"
        sign = ("✗ ", styles.error) if error else ("! ", styles.warning)
        lines.append(Paragraph(Text.assemble(sign, visible(problem.sentence, lines=True))))
        if problem.fix:
            lines.append(Paragraph(Text(f"→ {visible(from_form(problem.fix), lines=True)}"), indent=2))
    return lines


def command_lines(command: str, styles: Styles) -> list[Paragraph]:
    """The equivalent command."""
    return [
        BLANK,
        Paragraph(Text("As a command (y to copy):", styles.muted)),
        Paragraph(Text(visible(command)), indent=2),
    ]
