"""Prices: matched by meter name for certain, or unknown."""

from __future__ import annotations

from typing import Any

import pytest

from core.azure import prices
from core.azure.prices import Quote, quotes
from tests.azure_emulator.emulator import Emulator


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_kept", {})


def test_each_price_names_its_meter_currency_and_date() -> None:
    found = quotes("Phi-4-mini-instruct", "eastus2")
    training, hosting = found["training"], found["hosting"]
    assert (training.amount, training.per, training.currency) == (0.003, 1000.0, "USD")
    assert training.meter == "Phi-4-mini-instruct FT Training Tokens"
    assert training.since == "2026-01-01"
    assert training.asked
    assert training.cost(2_000_000) == pytest.approx(6.0)
    assert hosting.cost(730) == pytest.approx(584.0)
    assert found["output"].amount == 0.0003


def test_a_relative_of_the_same_family_is_never_taken_for_it() -> None:
    assert quotes("Phi-4", "eastus2")["training"].meter == "Phi-4 FT Training Tokens"
    assert quotes("Phi-4-mini-reasoning", "eastus2")["training"].amount is None


def test_another_currency_is_asked_for() -> None:
    found = quotes("Phi-4-mini-instruct", "eastus2", "EUR")["hosting"]
    assert found.currency == "EUR"
    assert found.amount == pytest.approx(0.8 * 0.92)


def test_a_long_list_is_read_to_its_end(azure: Emulator) -> None:
    azure.settings.prices_page = 3
    assert quotes("Phi-4-mini-instruct", "eastus2")["output"].amount == 0.0003
    assert sum("retail/prices" in path for _, path, *_ in azure.requests) > 2


def test_several_meters_are_unknown_and_named(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    twin = {"meterId": "other", "meterName": "Phi-4-mini-instruct FT Training Tokens Batch"}
    rows = [*azure.price_rows, *({**row, **twin} for row in azure.price_rows if _is_training(row))]
    monkeypatch.setattr(azure, "price_rows", rows)
    found = quotes("Phi-4-mini-instruct", "eastus2")["training"]
    assert found.amount is None
    assert "2 meters may be it" in found.why
    assert found.cost(1000) is None


def _is_training(row: dict[str, Any]) -> bool:
    return bool(row["meterName"] == "Phi-4-mini-instruct FT Training Tokens")


def test_no_meter_no_region_and_no_list_are_unknown(azure: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no meter" in quotes("Phi-9", "eastus2")["training"].why
    assert "region" in quotes("Phi-4", "")["training"].why
    azure.faults.add("GET prices", kind="server_error", times=100)
    assert "500" in quotes("Phi-4", "westus")["training"].why
    monkeypatch.setenv("FINETUI_AZURE_PRICES_URL", "https://127.0.0.1:1")
    assert "can't be had" in quotes("Phi-4", "eastus")["training"].why


@pytest.mark.parametrize(
    ("kind", "unit", "per"),
    [
        ("training", "1K", 1e3), ("training", "1M", 1e6), ("training", "1,000", 1e3), ("training", "1K Tokens", 1e3),
        ("training", "1", 1.0), ("training", "1 Hour", None), ("hosting", "1 Hour", 1.0), ("hosting", "1/Hour", 1.0),
        ("hosting", "1K", None), ("hosting", "1 Month", None),
    ],
)  # fmt: skip
def test_a_unit_is_read_or_the_price_is_unknown(kind: prices.Kind, unit: str, per: float | None) -> None:
    assert prices._per(kind, unit) == per


def test_a_cost_is_in_units_of_the_list() -> None:
    assert Quote("training", 2.0, 1e6).cost(500_000) == 1.0


def test_missing_certificates_are_named_with_their_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    assert "SSL_CERT_FILE=/nowhere/certificates.pem" in quotes("Phi-4", "eastus2")["training"].why
