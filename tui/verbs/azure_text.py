"""What the Azure commands say: prices, estimates, the note that this is no real Azure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.recipe import Recipe
from core.work import RemoteEstimate
from tui.format import count
from tui.verbs.output import interactive, say

if TYPE_CHECKING:
    from core.azure.account import Account

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
    return f"{quote.amount:g} {quote.currency} for {quote.unit} ({matched})"


def money(amount: float | None, currency: str) -> str:
    """An amount; small ones keep their digits."""
    if amount is None:
        return "unknown"
    return f"{amount:.2f} {currency}" if amount >= 1 else f"{amount:.4f} {currency}"


def remote_lines(recipe: Recipe, sizes: RemoteEstimate) -> list[str]:
    """Rows, tokens and price of a recipe in Azure. Asks the public price list."""
    from core.azure import account, models, prices

    name = models.registry_id(recipe.model).removeprefix(models.PREFIX)
    quotes = prices.quotes(name, account.load().region)
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
