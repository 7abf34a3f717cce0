"""What the Azure pages say, without a screen: amounts, accounts, lines, prices, and nothing that acts on a terminal."""

from __future__ import annotations

from itertools import product

import pytest

from core.azure.account import Account
from core.errors import FinetuiError
from core.recipe import Recipe, build
from core.work import RemoteEstimate
from tests.tui.made_azure import GUID, T0, account, endpoints, jobs, lines, models, quotes, things
from tui.azure_job_text import job_details, job_rows, log_lines
from tui.azure_lists import (
    asset_options,
    bill,
    deploy_terms,
    endpoint_details,
    endpoint_rows,
    in_use,
    loses,
    model_details,
    model_rows,
    sorted_models,
    thing_details,
    thing_picks,
)
from tui.azure_text import (
    account_lines,
    by_keys,
    check_details,
    check_rows,
    check_title,
    form_note,
    from_form,
    from_run,
    sign_in_line,
)
from tui.bigtext import GLYPHS, big
from tui.format import money
from tui.plan_text import remote_lines, spends
from tui.rowtext import Styles

SIZES = RemoteEstimate(
    rows=36,
    validation_rows=4,
    epochs=3.0,
    epochs_from="recipe",
    tokens=6534,
    counted="tokenizer",
    sampled_rows=0,
)


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (12345.6, "12 345.60 USD"),
        (1.6, "1.60 USD"),
        (0.8, "0.80 USD"),
        (0.0003, "0.0003 USD"),
        (7.5e-5, "0.000075 USD"),
        (0, "0.00 USD"),
        (0.040011, "0.04 USD"),
        (0.011748, "0.012 USD"),
        (0.997, "1.00 USD"),
    ],
)
def test_an_amount_keeps_the_digits_that_say_something(amount: float, words: str) -> None:
    assert money(amount, "USD") == words


def test_errors_name_keys_in_place_of_commands() -> None:
    told = by_keys(
        FinetuiError(
            "In use.",
            "The endpoint tone serves it.",
            "`finetui azure undeploy tone` deletes it; `finetui azure login --subscription ID` chooses another.",
        )
    )
    assert told.next_step == "x on tone on Endpoints deletes it; c on Get ready chooses another."
    assert "`finetui" not in by_keys(FinetuiError("", "", "Sign in again: `finetui azure login`.")).next_step
    assert from_form("`finetui azure login` chooses, `finetui azure check --fix` makes.") == (
        "Get ready (z) chooses, Get ready (z) makes."
    )


def test_the_account_is_named_whole_where_there_is_room() -> None:
    who = {"user": GUID, "user_tenant": GUID}
    narrow, wide = account_lines(account(), True, False, who), account_lines(account(), True, True, who)
    assert narrow[0] == "Service principal, signed in as 11111111… · tenant 11111111…"
    assert account_lines(account(), True, False, {})[0].endswith("signed in · tenant the identity's own")
    assert narrow[1] == "subscription 11111111… · group rg-one · project project-one in eastus2"
    assert GUID in wide[1] and max(map(len, narrow)) <= 78
    assert "not signed in" in account_lines(account(), False, False, {})[0]
    assert "project not chosen" in account_lines(account(Account()), None, False, {})[1]


def test_the_form_says_what_is_missing_and_the_key_for_it() -> None:
    assert form_note({}, None) == "asking who is signed in ..."
    assert form_note(account(), False) == "nobody is signed in (z)"
    assert form_note(account(Account()), True) == "no subscription yet (z)"
    assert form_note(account(), True) == "project-one in eastus2"


def test_each_line_has_a_sign_a_word_and_its_remedy() -> None:
    rows = check_rows(lines("missing"))
    assert [row.cells["state"] for row in rows] == ["✓ ok", "✗ missing", "✗ missing", "? unknown"]
    assert rows[1].cells["title"] == "Microsoft.Network"
    assert check_title(lines("missing"), False) == "Get ready   2 to do"
    assert check_title(lines()[:2], False) == "Get ready   all there"
    assert check_title([lines()[0], lines()[3]], False) == "Get ready   nothing is missing; unknown: Quota"
    told = {p.head.strip(): p.text for p in check_details(lines("missing")[1])}
    assert told == {
        "found": "NotRegistered.",
        "fix": "enter registers it: free, some minutes",
        "costs": "Nothing.",
        "means": "Azure's networks.",
    }
    asked = {p.head.strip(): p.text for p in check_details(lines()[2])}
    assert asked["ask"] == "An owner of rg-one." and "fix" not in asked


def test_a_missing_sign_in_says_why_and_what_lives_how_long() -> None:
    why = {
        "what": "Signing in: not available here.",
        "cause": "No az.",
        "next_step": "`finetui azure login` helps.",
    }
    line = sign_in_line(account(), False, why)
    assert line["state"] == "missing" and line["found"] == "Signing in: not available here. No az."
    told = {p.head.strip(): p.text for p in check_details(line)}
    assert told["next"] == "i on Get ready helps." and told["fix"] == "enter signs in"
    device = account(Account("device_code"))
    assert "a run in the background shows a code" in sign_in_line(device, True, {})["meaning"]
    assert sign_in_line({}, None, {})["state"] == "asking"


def test_models_that_can_be_tuned_here_come_first_and_retired_ones_last() -> None:
    rows = model_rows(sorted_models(models(), "eastus2"), "eastus2", {"Phi-4-mini-instruct": quotes()})
    assert [row.cells["state"] for row in rows] == [
        "✓ tuned in eastus2",
        "✗ not in eastus2, in 1 other",
        "? no region known",
        "■ retired: use Phi-4-mini-instruct",
    ]
    assert [row.cells["training"] for row in rows] == ["3.00 USD", "—", "—", "—"]
    assert rows[0].cells["hosting"] == "0.80 USD" and rows[0].cells["context"] == "131 072"


def test_a_model_is_told_with_its_prices_and_what_is_unknown_of_them() -> None:
    mini = next(item for item in models() if item["name"] == "Phi-4-mini-instruct")
    told = {p.head.strip(): p.text for p in model_details(mini, "eastus2", quotes())}
    assert told["training"] == "3.00 USD for a million tokens"
    assert told["endpoint"] == "0.80 USD an hour (584.00 USD a month), used or not"
    assert told["replies"] == "unknown: the price list has no meter with its name"
    assert told["meters"] == "Phi FT Training; Phi FT Hosting; Phi Input  (public list of 2026-09-21)"
    assert told["unset"] == "the service's own settings: num_train_epochs 1"
    retired = {p.head.strip(): p.text for p in model_details(models()[0], "eastus2", None)}
    assert retired["state"].endswith("since 2025-08-30; it can still be trained on this machine")
    assert "training" not in retired


def test_endpoints_show_what_an_hour_costs_and_which_are_idle() -> None:
    rows = endpoint_rows(endpoints(), T0)
    assert [row.cells["cost"] for row in rows] == ["0.80 USD", "—"]
    assert [row.cells["use"] for row in rows] == ["! idle 3 d", "used 1 min ago"]
    assert [row.cells["by"] for row in rows] == ["finetui", "elsewhere"]
    assert bill(endpoints()) == "! 1 endpoint charged by the hour, used or not: 0.80 USD/h, 19.20 USD a day"
    assert bill(endpoints()[1:]) == ""
    unknown = [*endpoints(), {**endpoints()[0], "hosting": quotes(hosting=None)["hosting"]}]
    assert bill(unknown).endswith("0.80 USD/h, 19.20 USD a day; the price of 1 is unknown")
    told = {p.head.strip(): p.text for p in endpoint_details(endpoints()[1], T0)}
    assert told["made"] == "1 h ago, not by finetui" and told["costs"] == "nothing by the hour"


def test_what_finetui_made_is_told_with_its_cost_and_its_use() -> None:
    picks = {pick.id: pick for pick in thing_picks(things()) if pick.id}
    assert picks["endpoint tone-live"].size == "0.80 USD/h"
    assert picks["model tone-1a:1"].note == "in use by tone-live, run tone-1a2b"
    assert picks["job finetui-other"].fixed
    model = things()[1]
    assert in_use(model, {"model tone-1a:1"}) == "tone-live"
    assert in_use(model, {"model tone-1a:1", "endpoint tone-live"}) == ""
    assert loses(things()[:2]) == (
        "1 endpoint, 1 model. What is deleted in Azure can't be brought back. 0.80 USD an hour are no longer charged."
    )


def test_the_plan_counts_tokens_and_prices_or_says_unknown() -> None:
    told = "\n".join(line.text.plain for line in remote_lines(SIZES, quotes(), Styles.plain()))
    assert "6 534 x 3 epochs (by the recipe) = 19 602" in told
    assert "0.059 USD, at 3.00 USD for a million tokens" in told and "Phi FT Training" in told
    assert "0.80 USD an hour (584.00 USD a month), used or not, once deployed" in told
    assert "asked 2026-09-21" in told
    unknown = remote_lines(SIZES, quotes(training=None), Styles.plain())
    assert any(
        line.text.plain == "Training unknown: the price list has no meter with its name" for line in unknown
    )
    asking = "\n".join(line.text.plain for line in remote_lines(SIZES, None, Styles.plain()))
    assert "asking the public price list" in asking and "USD" not in asking
    files = azure_recipe("mine.jsonl")
    assert spends(files, SIZES, quotes()).startswith(
        "Training on 19 602 tokens costs 0.059 USD. 40 rows are uploaded"
    )
    assert "is unknown" in spends(files, SIZES, quotes(training=None))


def azure_recipe(data: str, validation: str | None = None) -> Recipe:
    return build(
        {"model": "phi-4-mini-instruct", "data": data, "validation": validation, "backend": "azure"}
        if validation
        else {"model": "phi-4-mini-instruct", "data": data, "backend": "azure"}
    )


@pytest.mark.parametrize(
    ("data", "validation", "said"),
    [
        ("azureml:mine:1", None, "Nothing is uploaded: the rows are in Azure."),
        ("azureml:mine:1", "azureml:held:1", "Nothing is uploaded: the rows are in Azure."),
        ("azureml:mine:1", "held.jsonl", "4 rows are uploaded to the project's storage; the others are in Azure."),
        ("mine.jsonl", "azureml:held:1", "36 rows are uploaded to the project's storage; the others are in Azure."),
        ("mine.jsonl", None, "40 rows are uploaded to the project's storage."),
    ],
)  # fmt: skip
def test_what_is_said_to_be_uploaded_is_what_is_uploaded(
    data: str, validation: str | None, said: str
) -> None:
    assert said in spends(azure_recipe(data, validation), SIZES, quotes())


def test_rows_that_nobody_counted_cost_an_unknown_sum() -> None:
    told = spends(azure_recipe("azureml:mine:1"), None, quotes())
    assert told.startswith("What it costs is unknown: its rows lie in Azure and were not counted here.")
    assert "3.00 USD for a million tokens" in told and "Nothing is uploaded" in told


def test_nothing_from_outside_acts_on_a_terminal() -> None:
    hostile = "\x1b[2J\x9b31m\x07"
    line = {**lines()[0], "found": hostile, "meaning": hostile, "ask": hostile}
    endpoint = {**endpoints()[0], "name": hostile, "address": hostile, "state": hostile}
    thing = {**things()[0], "name": hostile, "state": hostile, "cost": hostile}
    words = ("name", "title", "status", "words", "model", "by", "run", "output", "studio")
    job = {
        **jobs()[0],
        **dict.fromkeys(words, hostile),
        "hyperparameters": {hostile: hostile},
        "inputs": [hostile],
    }
    asset = {"ref": hostile, "kind": "uri_file", "description": hostile, "run": hostile, "created": T0}
    model = {**models()[1], "licence": hostile, "title": hostile, "defaults": {hostile: hostile}}
    chosen = account(Account("azure_cli", hostile, hostile, hostile, hostile, hostile))
    texts = [
        *(
            cell
            for row in (*check_rows([line]), *endpoint_rows([endpoint], T0))
            for cell in row.cells.values()
        ),
        *(cell for row in model_rows([model], "eastus2", {}) for cell in row.cells.values()),
        *(p.text for p in (*check_details(line), *endpoint_details(endpoint, T0), *thing_details(thing, T0))),
        *(p.text for p in model_details(model, "eastus2", quotes())),
        *(f"{pick.title}{pick.note}" for pick in thing_picks([thing])),
        *account_lines(chosen, True, True, {"user": hostile, "user_tenant": hostile}),
        *(p.text for p in (*job_details(job, hostile, T0), *log_lines([{"name": hostile, "text": hostile}]))),
        *(cell for row in job_rows([job], {}, T0) for cell in row.cells.values()),
        *(text for option in asset_options([asset], T0) for text in option[1:]),
    ]
    assert not set("".join(texts)) & {"\x1b", "\x9b", "\x07"}


def test_the_terms_of_an_endpoint_are_those_of_whose_model_it_serves() -> None:
    assert deploy_terms("MIT", "").endswith(
        "(https://www.microsoft.com/licensing/terms); the base model's licence: MIT."
    )
    assert deploy_terms("", "Meta") == "Terms: those of Meta's offer in the Azure Marketplace."


def test_a_run_s_trouble_is_mended_by_keys() -> None:
    told = from_run("`finetui azure logs finetui-x` shows its log; `finetui resume x-1` sends a new one.")
    assert told == "l on Jobs (2, z) shows its log; r sends a new one."
    assert from_run("`finetui azure models` names the regions.") == "Models (2, z) names the regions."


def test_every_letter_of_a_code_is_another_picture() -> None:
    pictures = {letter: "\n".join(big(letter, 80)) for letter in GLYPHS if letter.isalnum()}
    assert len(pictures) == 36
    assert not [(a, b) for a, b in product(pictures, pictures) if a < b and pictures[a] == pictures[b]]


def test_a_code_is_large_where_it_fits_and_plain_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    large = big("GTHK2Q9XV", 70)
    assert len(large) == 3 and max(map(len, large)) <= 53
    assert big("GTHK2Q9XV", 50) == ["GTHK2Q9XV"]
    assert big("ünter", 70) == ["ünter"]
    monkeypatch.setenv("FINETUI_ASCII", "1")
    assert len(big("AB", 70)) == 5 and set("".join(big("AB", 70))) == {"#", " "}
