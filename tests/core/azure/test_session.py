"""One sign-in for all that a process does, and the codes that are shown meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from core.azure.account import load, save
from core.azure.faults import AzureError
from core.azure.session import Session
from tests.azure_emulator.emulator import Emulator


def nothing() -> None:
    """Somebody waits."""


def test_a_code_is_asked_for_once(azure: Emulator) -> None:
    save(replace(load(), identity="device_code"))
    session = Session()
    codes = []
    for shown in session.ensure(nothing):
        codes.append(shown["code"])
        assert shown["url"].startswith("https://")
        azure.entra.approve(shown["code"])
    assert len(codes) == 1
    assert list(session.ensure(nothing)) == []
    assert session.azure.ml.workspace_name == azure.workspace


def test_what_renews_itself_asks_for_no_code(azure: Emulator) -> None:
    assert list(Session().ensure(nothing)) == []


def test_a_sign_in_that_fails_leaves_the_one_before(azure: Emulator) -> None:
    session, before = Session(), load()
    with pytest.raises(AzureError):
        for shown in session.sign_in(nothing, "device_code"):
            azure.entra.decline(shown["code"])
    assert load() == before
    session.azure.signed_in()


def test_nobody_waits_any_longer(azure: Emulator) -> None:
    def check_after(codes: list[str]) -> Callable[[], None]:
        def check() -> None:
            if codes:
                raise KeyboardInterrupt

        return check

    codes: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        for shown in Session().sign_in(check_after(codes), "device_code"):
            codes.append(shown["code"])
    assert load().identity == "service_principal"


def test_the_sign_in_stays_while_way_and_tenant_are_the_same(azure: Emulator) -> None:
    session = Session()
    held = session.azure.credential
    save(load().changed(project="another"))
    assert session.azure.account.project == "another"
    assert session.azure.credential is held
    save(load().changed(identity="device_code"))
    assert session.azure.credential is not held
