"""The text tier: what is found, what is not, and that the filters before the rules lose nothing."""

from __future__ import annotations

import base64
import random
import string

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.check.patterns import RULES, findings, luhn
from core.data.check.scan import row_of
from core.data.check.text import mojibake, text_problems
from core.data.conversation import Conversation, Message

_RANDOM = random.Random(7)


def letters(number: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(_RANDOM.choices(alphabet, k=number - 1)) + "7"


B64 = base64.b64encode(bytes(range(64))).decode()
SECRETS = {
    "an AWS access key": "AKIA" + letters(16, string.ascii_uppercase),
    "a GitHub token": "ghp_" + letters(36),
    "a GitLab token": "glpat-" + letters(20),
    "an API key of OpenAI's or Anthropic's kind": "sk-proj-" + letters(48),
    "a Hugging Face token": "hf_" + letters(34),
    "a Slack token": "xoxb-123456789012-" + letters(24),
    "a Slack webhook": "https://hooks.slack.com/services/T00000000/B00000000/" + letters(24),
    "a Google API key": "AIza" + letters(35),
    "a Google client secret": "GOCSPX-" + letters(28),
    "a Google access token": "ya29." + letters(60),
    "an Azure storage key": f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={B64}",
    "an Azure shared access signature": f"https://a.blob.core.windows.net/b?sv=2022&sig={letters(43)}%3D",
    "an Azure client secret": "abc8Q~" + letters(34),
    "a Stripe key": "sk_live_" + letters(24),
    "a SendGrid key": f"SG.{letters(22)}.{letters(43)}",
    "an npm token": "npm_" + letters(36),
    "a PyPI token": "pypi-AgEIcHlwaS5vcmc" + letters(60),
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
    "a JSON web token": f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkw.{letters(43)}",
    "a password in an address": "postgres://admin:hunter2z@db.internal:5432/x",
    "a password or key": 'DB_PASSWORD = "correct-horse-7"',
}


def row(*contents: str) -> Conversation:
    roles = ("user", "assistant")
    turns = tuple(Message(roles[number % 2], text) for number, text in enumerate(contents))
    return Conversation(turns, "a.jsonl", 3, 3)


def codes(*contents: str) -> list[str]:
    return [problem.code for problem in text_problems([row_of(row(*contents))], "a.jsonl")]


def test_every_kind_of_secret_has_a_case() -> None:
    assert set(SECRETS) == {rule.kind for rule in RULES if rule.code == "secret"}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_found_and_not_shown(kind: str) -> None:
    secret = SECRETS[kind]
    (problem,) = text_problems([row_of(row("Look:", f"It is ({secret}), see?"))], "a.jsonl")
    assert (problem.code, problem.line) == ("secret", 3)
    assert "message 2 (assistant)" in problem.sentence
    assert kind in problem.sentence
    assert secret not in problem.sentence


@pytest.mark.parametrize(
    "text",
    [
        "token = tokenizer.decode(ids)",
        'password = "your_password_here"',
        "password: must have 8 characters",
        'secret_key: "<your key>"',
        'api_key="${API_KEY}"',
        "a task-oriented-approach-to-disk-management-2",
        "https://example.org:8080/path@2x",
        "the hash 3f786850e387550fdab836ed7e6dc881de23001b",
        "AKIAtooshort",
        "public -----BEGIN CERTIFICATE-----",
    ],
)
def test_what_is_no_secret(text: str) -> None:
    assert codes("Look:", text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to Bob.Smith+list@mail.acme.co.uk.", True),
        ("bob@acme.org", True),
        ("bob@example.com", False),
        ("icon@2x.png", False),
        ("git clone git@github.com:a/b", False),
        ("@media screen", False),
        ("npm i @types/node", False),
    ],
)
def test_e_mail_addresses(text: str, found: bool) -> None:
    assert codes("Look:", text) == (["email"] if found else [])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4111 1111 1111 1111", True),
        ("5555-5555-5555-4444", True),
        ("378282246310005", True),
        ("6011111111111117.", True),
        ("4111 1111 1111 1112", False),  # the checksum is wrong
        ("1234 5678 9012 3452", False),  # no issuer's number
        ("0.4111111111111111", False),
        ("ID-4111111111111111", False),
        ("2023 2024 2025 2026", False),
    ],
)
def test_card_numbers(text: str, found: bool) -> None:
    assert codes("Look:", f"It is {text}") == (["card-number"] if found else [])


@given(st.text("0123456789", min_size=12, max_size=18))
def test_luhn_accepts_one_last_digit_of_ten(digits: str) -> None:
    assert sum(luhn(digits + last) for last in "0123456789") == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Dear {{name}},", True),
        ("{{ user.first_name }} wrote", True),
        ("{{#each items}}", True),
        (r"\frac{{a}}{{b}}", False),
        ("x^{{2}}", False),
        ("{'a': {'b': {}}}", False),
    ],
)
def test_placeholders(text: str, found: bool) -> None:
    assert codes("Look:", text) == (["placeholder"] if found else [])


WRONG = ["Itâ€™s", "cafÃ©", "naÃ¯ve â€œquotesâ€\x9d", "РџСЂРёРІРµС‚", "l’Ã©tat", "√âcole", "├⌐t├⌐"]


@pytest.mark.parametrize("text", WRONG)
def test_text_in_the_wrong_encoding(text: str) -> None:
    assert codes("Say it", f"Well, {text} is what it said there.") == ["mojibake"]


@pytest.mark.parametrize(
    "text",
    [
        "It’s",
        "café",
        "« État »",
        "“Écoute !”",
        "Привет, как дела?",
        "日本語の文です。",
        "Ça va à São Paulo",
        "π ≈ 3.14 — yes",
        "emoji 😀👍🏽",
    ],
)
def test_text_that_is_right(text: str) -> None:
    assert codes("Say it", text) == []


def test_lost_characters_are_named() -> None:
    (problem,) = text_problems([row_of(row("Caf\ufffd", "Yes"))], "a.jsonl")
    assert problem.code == "mojibake"
    assert "U+FFFD" in problem.sentence


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.sampled_from("aeé’“”—üñŁжя日😀 œ"), min_size=1, max_size=20),
    st.sampled_from(["latin-1", "cp1252", "cp1251"]),
)
def test_the_filter_before_ftfy_loses_nothing_that_it_mends(text: str, encoding: str) -> None:
    try:
        wrong = text.encode().decode(encoding)
    except UnicodeDecodeError:
        return
    if ftfy.fix_encoding(wrong) != wrong and ftfy.is_bad(wrong):
        assert mojibake(wrong) is not None


def test_one_problem_a_row_and_code_counts_the_rest() -> None:
    (problem,) = text_problems([row_of(row("bob@acme.org and al@acme.org", "cy@acme.org"))], "a.jsonl")
    assert "message 1 (user) has an e-mail address (b…@acme.org), and 2 more" in problem.sentence


_PIECES = [
    *SECRETS.values(),
    "bob@acme.org",
    "4111 1111 1111 1111",
    "{{ name }}",
    "plain words",
    "日本",
    "A" * 30,
    "\n",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(_PIECES), max_size=4), max_size=6))
def test_searching_a_block_finds_what_searching_each_text_finds(rows: list[list[str]]) -> None:
    conversations = [row("Look:", " , ".join(pieces) or "-") for pieces in rows]
    together = text_problems([row_of(item) for item in conversations], "a.jsonl")
    apart = [{item.code for item in findings(each.messages[1].content)} for each in conversations]
    assert sorted(problem.code for problem in together) == sorted(code for found in apart for code in found)


def test_findings_lie_apart_and_name_the_part_to_hide() -> None:
    text = 'password = "hunter2x" for bob@acme.org'
    assert [(item.code, text[item.start : item.end]) for item in findings(text)] == [
        ("secret", "hunter2x"),
        ("email", "bob@acme.org"),
    ]
