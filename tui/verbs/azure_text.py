"""What the Azure commands say: prices, estimates, the note that this is no real Azure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.recipe import Recipe
from core.work import RemoteEstimate
from tui.format import count, money
from tui.verbs.output import interactive, say

if TYPE_CHECKING:
    from core.azure.account import Account

MILLION = 1_000_000
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
IN_WORDS = {
    "training": "training, by the token",
    "hosting": "an endpoint, by the hour, used or not",
    "input": "prompts, by the token",
    "output": "replies, by the token",
}


def connected(chosen: Account | None = None) -> Any:
    """The clients of an account, signed in; a device code is shown and waited for.

    Args:
        chosen: whose; the account in use when None.

    Raises:
        AzureError: nobody can be signed in.
    """
    from core.azure import account
    from core.azure.clients import Azure
    from core.azure.faults import SIGN_IN_NEEDED, AzureError

    tell_note()
    azure = Azure(chosen or account.load(), tell_code)
    try:
        azure.signed_in()
        return azure
    except AzureError as error:
        if error.code != SIGN_IN_NEEDED:
            raise
    azure.sign_in()
    return azure


def tell_note() -> None:
    """Say what must always be said, e.g. that this is an emulator."""
    from core.azure.account import note

    if note():
        say(f"Azure: {note()}")


def tell_code(address: str, code: str) -> None:
    """Show a device code."""
    say(f"To sign in, open {address} on any machine and enter the code {code}")


def quote_text(quote: Any) -> str:
    """A price in words, with what it was matched to; unknown says why."""
    if quote.amount is None:
        return f"unknown: {quote.why}"
    matched = f"{quote.meter}, since {quote.since}, asked {quote.asked}"
    if quote.kind == "hosting":
        return f"{sum_text(quote.cost(1), quote.currency)} an hour ({matched})"
    return f"{sum_text(quote.cost(MILLION), quote.currency)} for a million tokens ({matched})"


def sum_text(amount: float | None, currency: str) -> str:
    """An amount; `unknown` where it is not known."""
    return "unknown" if amount is None else money(amount, currency)


def look_at_assets(recipe: Recipe) -> None:
    """Have the rows of a recipe's data assets here, where nobody has looked at them yet: one that is not there, or that
    Azure can't take, makes no run.

    Raises:
        AzureError: there is no such data asset, or it has rows that can't be used.
    """
    from core.azure import assets
    from core.backends.azure_rows import not_looked_at
    from core.backends.azure_sides import refuse_faults

    if unseen := not_looked_at(recipe):
        azure = connected()
        for _, ref in unseen:
            refuse_faults(assets.look(azure, ref, recipe.value("task")))


def remote_data(recipe: Recipe, sizes: RemoteEstimate) -> dict[str, Any]:
    """What `remote_lines` says, for JSON: `billed_tokens`, `cost` (None: unknown), `currency`, and the quotes by their
    kind in `prices`."""
    quotes = _quotes(recipe)
    training = quotes["training"]
    return {
        "billed_tokens": sizes.billed_tokens,
        "cost": training.cost(sizes.billed_tokens),
        "currency": training.currency,
        "prices": {kind: asdict(quote) for kind, quote in quotes.items()},
    }


def _quotes(recipe: Recipe) -> dict[Any, Any]:
    from core.azure import account, models, prices

    name = models.registry_id(recipe.model).removeprefix(models.PREFIX)
    return dict(prices.quotes(name, account.load().region))


def remote_lines(recipe: Recipe, sizes: RemoteEstimate) -> list[str]:
    """Rows, tokens and price of a recipe in Azure. Asks the public price list."""
    quotes = _quotes(recipe)
    held = f", {count(sizes.validation_rows)} more for validation" if sizes.validation_rows else ""
    how = "by the model's tokenizer" if sizes.counted == "tokenizer" else "about, by four characters a token"
    sampled = f", from the first {count(sizes.sampled_rows)} rows" if sizes.sampled_rows else ""
    whose = "" if sizes.epochs_from == "recipe" else ", the service's own"
    training = quotes["training"]
    cost = training.cost(sizes.billed_tokens)
    epochs = "1 epoch" if sizes.epochs == 1 else f"{sizes.epochs:g} epochs"
    times = f"{count(sizes.tokens)} ({how}{sampled}) x {epochs}{whose}"
    total = "" if sizes.epochs == 1 else f"{count(sizes.billed_tokens)} = "
    priced = "" if cost is None else f"{money(cost, training.currency)}: "
    return [
        f"rows      {count(sizes.rows)}{held}",
        f"tokens    {total}{times}",
        f"training  {priced}{quote_text(training)}",
        f"endpoint  {quote_text(quotes['hosting'])}; only when deployed",
    ]


def confirm(yes: bool, question: str) -> None:
    """Ask, unless told not to; without a terminal `--yes` must be given."""
    from core.azure.faults import AzureError

    if yes:
        return
    if not interactive():
        raise AzureError(question, "Nobody is there to answer.", "Give --yes.", code="not_confirmed")
    if not typer.confirm(question, err=True):
        raise typer.Exit(2)
