"""`finetui azure check --fix --ai-services NAME`, and what the clean-up says of the account."""

# ruff: noqa: F811 - the fixtures are those of core.azure's tests

from __future__ import annotations

import json

from tests.azure_emulator.emulator import Emulator
from tests.core.azure.conftest import azure, loopback  # noqa: F401
from tests.tui.verbs.conftest import Finetui

NAME = "speech-and-more"


def test_ai_services_are_offered_connected_and_listed(azure: Emulator, finetui: Finetui) -> None:
    asked = finetui("azure", "check")
    assert asked.exit_code == 0  # they are not needed
    assert "optional AI services: Not needed" in asked.stdout
    assert "finetui azure check --fix --ai-services NAME" in asked.stdout
    fixed = finetui("azure", "check", "--fix", "--ai-services", NAME, "--json")
    assert fixed.exit_code == 0, fixed.output
    [line] = [line for line in json.loads(fixed.stdout) if line["key"] == "ai_services"]
    assert (line["state"], line["fix"]) == ("ok", "")
    assert f"AI services: {NAME} is connected to the hub {azure.hub}" in fixed.stderr
    swept = finetui("azure", "sweep")
    assert f"ai_services {NAME}" in swept.stdout
    assert "nothing until it is used" in swept.stdout and "delete it in the Azure portal" in swept.stdout


def test_a_wrong_name_is_refused_before_anything_is_asked(azure: Emulator, finetui: Finetui) -> None:
    azure.state.set_provider(azure.subscription, "Microsoft.Network", "NotRegistered")
    result = finetui("azure", "check", "--fix", "--ai-services", "a b")
    assert result.exit_code == 2
    assert "can't be called" in result.stderr
    assert azure.state.provider(azure.subscription, "Microsoft.Network") == "NotRegistered"
