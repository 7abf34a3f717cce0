"""The Azure Marketplace: models of partners are tuned and served only in projects that have taken the partner's offer.

Microsoft's own models, the Phi family, need none of it.
"""

from __future__ import annotations

import re

from core.azure.clients import Azure, finished, text
from core.azure.faults import AzureError, asking
from core.azure.models import get, partner_of, split

SUBSCRIBED = "subscribed"


def status(azure: Azure, model: str) -> str:
    """How a project's subscription to a partner's offer stands (`subscribed`, ...); empty where there is none.

    Args:
        azure: the account.
        model: registry id of the model.

    Raises:
        AzureError: the project can't be asked.
    """
    with asking("The project's marketplace subscriptions"):
        found = {
            str(item.model_id).lower(): text(item.status).lower()
            for item in azure.ml.marketplace_subscriptions.list()
        }
    return found.get(model.lower(), "")


def refuse_unsubscribed(azure: Azure, model: str) -> None:
    """Refuse a partner's model whose offer the project has not taken.

    Raises:
        AzureError: it has not, or the project can't be asked.
    """
    partner = partner_of(model)
    if partner and status(azure, model) != SUBSCRIBED:
        raise AzureError(
            f"{split(model)[1]} is {partner}'s: it is tuned and served through the Azure Marketplace only.",
            f"The project {azure.account.project} has not taken its offer.",
            f"`finetui azure subscribe {model}` takes it; its terms and prices are in the Azure Marketplace.",
            code="ServerlessOfferNotFound",
        )


def refuse_useless(azure: Azure, model: str) -> None:
    """Refuse to take an offer that the project could do nothing with.

    Raises:
        AzureError: the model is no partner's, or can't be tuned in the project's region (those that can are named); or
            the registry can't be asked.
    """
    _, called = split(model)
    if not partner_of(model):
        raise AzureError(f"{called} needs no offer of the Marketplace.", "It is Microsoft's own.", "")
    against = get(azure, model).why_not(azure.account.region)
    if against:
        raise AzureError(
            against,
            f"The offer would be taken for the project {azure.account.project}, which stays where it was made.",
            "Choose a project in one of these regions: `finetui azure login --project NAME`.",
            code="model_not_here",
        )


def subscribe(azure: Azure, model: str) -> str:
    """Take a partner's offer for the project, and so accept its terms; returns the subscription's name.

    Raises:
        AzureError: as `refuse_useless`, or Azure refuses.
    """
    from azure.ai.ml.entities import MarketplaceSubscription

    refuse_useless(azure, model)
    _, called = split(model)
    name = re.sub(r"[^a-zA-Z0-9-]", "-", called)[:52].strip("-")
    with asking(f"The offer for {called}"):
        wanted = MarketplaceSubscription(name=name, model_id=model)
        finished(azure.ml.marketplace_subscriptions.begin_create_or_update(wanted))
    return name
