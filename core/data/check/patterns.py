"""Secrets, personal data and unrendered placeholders in text: what they look like, and where they stand.

Every rule names literals of which one stands in whatever it matches, so that a search for fixed strings, which
is many times faster, can rule most rows out (core.data.check.text). Values are never shown whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_NOT_MEANT = re.compile(
    r"(?i)your|example|placeholder|change.?me|redacted|dummy|xxx|\*\*\*|\.\.\.|^<|^\$|\{\{|^%|^none$|^null$|^true$"
    r"|^false$|password|passwd|secret"
)
_FILE_ENDINGS = (
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "js",
    "ts",
    "css",
    "html",
    "py",
    "json",
    "md",
    "txt",
)
_IN_ADDRESS = re.compile(r"://[^\s/@]*$")
_RESERVED = re.compile(r"(?i)(?:^|\.)(?:example\.(?:com|org|net)|example|test|invalid|localhost)$")


class Rule(NamedTuple):
    """One kind of finding.

    Attributes:
        kind: what it is, in words.
        literals: in lower case; text without any of them, in any case, has no match.
        accepts: tells of a match whether it is one; None: every match is.
        near: matches at one of the literals of whatever the rule matches, in UTF-8 and lower case; a second,
            finer filter for literals that are common in text. None: the literal alone tells.
    """

    code: str
    kind: str
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], bool] | None = None
    near: re.Pattern[bytes] | None = None


class Finding(NamedTuple):
    """What was found in a text: `start` to `end` are the characters to hide."""

    code: str
    kind: str
    start: int
    end: int


def findings(text: str) -> list[Finding]:
    """Secrets, personal data and placeholders in a text, in order of place; none lies inside another."""
    lowered = text.lower()
    found = [item for rule in RULES if _may_match(rule, lowered) for item in matches(rule, text)]
    found.sort(key=lambda item: (item.start, -item.end))
    apart: list[Finding] = []
    for item in found:
        if not apart or item.start >= apart[-1].end:
            apart.append(item)
    return apart


def _may_match(rule: Rule, lowered: str) -> bool:
    """Whether a text in lower case has one of the rule's literals; a rule without any may always match."""
    return not rule.literals or any(literal in lowered for literal in rule.literals)


def matches(rule: Rule, text: str) -> Iterator[Finding]:
    for match in rule.pattern.finditer(text):
        if rule.accepts is None or rule.accepts(match):
            start, end = match.span("value") if "value" in rule.pattern.groupindex else match.span()
            yield Finding(rule.code, rule.kind, start, end)


def luhn(digits: str) -> bool:
    """Whether the last digit is the checksum of those before it (ISO/IEC 7812-1)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _is_card(match: re.Match[str]) -> bool:
    """A number that an issuer gives out: its first digits and its length go together, its checksum is right."""
    digits = re.sub(r"\D", "", match.group())
    length, two, three, four = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4])
    known = (
        (digits[0] == "4" and length in (13, 16, 19))
        or ((51 <= two <= 55 or 2221 <= four <= 2720) and length == 16)
        or (two in (34, 37) and length == 15)
        or ((300 <= three <= 305 or two in (36, 38, 39)) and length == 14)
        or ((four == 6011 or two in (62, 65) or 644 <= three <= 649 or 3528 <= four <= 3589) and length >= 16)
    )
    return known and luhn(digits)


def _is_email(match: re.Match[str]) -> bool:
    """Not an address of a domain kept for examples (RFC 2606), of a Git remote, nor a file's name or a URL's part."""
    name, _, domain = match.group().partition("@")
    ending = domain.rpartition(".")[2].lower()
    if name == "git" or ending in _FILE_ENDINGS or _RESERVED.search(domain):
        return False
    return not _IN_ADDRESS.search(match.string, max(match.start() - 100, 0), match.start())


def _is_meant(match: re.Match[str]) -> bool:
    """A value that is a password, not a word for one."""
    value = match.group("value")
    return not _NOT_MEANT.search(value) and len(set(value)) > 3


def _has_digit(match: re.Match[str]) -> bool:
    return any(letter.isdigit() for letter in match.group())


def _secret(
    kind: str,
    literals: str,
    pattern: str,
    accepts: Callable[[re.Match[str]], bool] | None = None,
    near: bytes = b"",
) -> Rule:
    finer = re.compile(near) if near else None
    return Rule("secret", kind, tuple(literals.split()), re.compile(pattern), accepts, finer)


_BEFORE, _AFTER = r"(?<![A-Za-z0-9_])", r"(?![A-Za-z0-9_])"
_NAMES = (
    r"(?:pass(?:word|wd|phrase)?|pwd|(?:client|app|api|shared|secret)?[_-]?secret(?:[_-]?(?:access)?[_-]?key)?"
    r"|(?:api|access|auth|account|private)[_-]?(?:key|token)|token)"
)

_WORDS = (
    "pass pwd secret token api_key api-key apikey access_key access-key accesskey account_key account-key "
    "accountkey private_key private-key privatekey auth_key auth-key authkey"
)
_ASSIGNED = rb"[a-z_-]{2,40}[\"']?[ \t]{0,4}(?::=|=>|[:=])"

RULES: tuple[Rule, ...] = (
    _secret("an AWS access key", "akia asia", _BEFORE + r"(?:AKIA|ASIA)[A-Z0-9]{16}" + _AFTER),
    _secret(
        "a GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        _BEFORE + r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})",
    ),
    _secret("a GitLab token", "glpat-", _BEFORE + r"glpat-[\w-]{20,255}"),
    _secret(
        "an API key of OpenAI's or Anthropic's kind",
        "sk-",
        r"(?<![\w-])sk-(?:proj-|svcacct-|admin-|ant-(?:api|admin)\d\d-)?[A-Za-z0-9_-]{20,255}",
        _has_digit,
        rb"sk-[a-z0-9_-]{20}",
    ),
    _secret("a Hugging Face token", "hf_", _BEFORE + r"hf_[A-Za-z0-9]{30,255}"),
    _secret("a Slack token", "xox", _BEFORE + r"xox[abeoprs]-[A-Za-z0-9-]{10,255}"),
    _secret("a Slack webhook", "hooks.slack.com", r"hooks\.slack\.com/services/[\w/]{20,255}"),
    _secret("a Google API key", "aiza", _BEFORE + r"AIza[\w-]{35}(?![\w-])"),
    _secret("a Google client secret", "gocspx-", r"GOCSPX-[\w-]{20,64}"),
    _secret("a Google access token", "ya29.", _BEFORE + r"ya29\.[\w-]{20,2048}"),
    _secret("an Azure storage key", "accountkey=", r"(?i)AccountKey=(?P<value>[A-Za-z0-9+/]{60,120}={0,2})"),
    _secret("an Azure shared access signature", "sig=", r"[?&;]sig=(?P<value>[A-Za-z0-9%+/]{40,}(?:%3D|=)*)"),
    _secret("an Azure client secret", "q~", r"(?<![\w~.-])[\w~.-]{3}[78]Q~[\w~.-]{31,34}(?![\w~.-])"),
    _secret("a Stripe key", "_live_", _BEFORE + r"[sr]k_live_[A-Za-z0-9]{20,255}"),
    _secret("a SendGrid key", "sg.", _BEFORE + r"SG\.[\w-]{16,32}\.[\w-]{16,64}"),
    _secret("an npm token", "npm_", _BEFORE + r"npm_[A-Za-z0-9]{36}" + _AFTER),
    _secret("a PyPI token", "pypi-age", r"pypi-AgE[\w-]{50,}"),
    _secret(
        "a private key",
        "-----begin",
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\s\S]{0,8192}?-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)?",
    ),
    _secret("a JSON web token", ".eyj", _BEFORE + r"eyJ[\w-]{8,2048}\.eyJ[\w-]{8,8192}\.[\w-]{10,2048}"),
    _secret(
        "a password in an address",
        "://",
        r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>]{1,64}:(?P<value>[^\s/:@'\"<>]{4,128})@(?=[\w\[])",
        _is_meant,
        rb"://[^\s/:@'\"<>]+:[^\s/:@'\"<>]{4}",
    ),
    _secret(
        "a password or key",
        _WORDS,
        r"(?i)(?<![a-z0-9])"
        + _NAMES
        + r"[\"']?[ \t]{0,4}(?::=|=>|[:=])[ \t]{0,4}[\"'](?P<value>[^\s\"'\\]{6,256})[\"']",
        _is_meant,
        _ASSIGNED,
    ),
    _secret(
        "a password or key",
        _WORDS,
        r"(?i)(?<![a-z0-9])" + _NAMES + r"=(?P<value>(?=[^\s\"'&;,()]*\d)[^\s\"'&;,()\[\]<>\\]{8,256})",
        _is_meant,
        _ASSIGNED,
    ),
    Rule(
        "email",
        "an e-mail address",
        ("@",),
        re.compile(
            r"(?<![\w.+-])[A-Za-z0-9_][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}"
            r"[A-Za-z]{2,24}(?![\w@-])"
        ),
        _is_email,
        re.compile(rb"(?<=[\w.+-])@[a-z0-9]"),
    ),
    Rule(
        "card-number",
        "a payment card's number",
        (),
        re.compile(r"(?<![\w.,-])[2-6](?:[ -]?[0-9]){12,18}(?![\w-]|[.,][0-9])"),
        _is_card,
    ),
    Rule(
        "placeholder",
        "an unrendered placeholder",
        ("{{",),
        re.compile(
            r"(?<![\w^_{}\\])\{{2,3}[ \t]{0,4}[#/>&^]?[ \t]{0,4}[A-Za-z_][\w.\- |'\"()\[\],:]{0,80}\}{2,3}"
        ),
        near=re.compile(rb"\{\{+[ \t]*[#/>&^]?[ \t]*[a-z_]"),
    ),
)


def shown(code: str, value: str) -> str:
    """A finding as a message may show it: placeholders whole, everything else by its first characters."""
    if code == "placeholder":
        return value
    kept = 4 if len(value) >= 16 else 1
    if code == "email":
        return f"{value[0]}…@{value.rpartition('@')[2]}"
    if code == "card-number":
        return f"{value[:1]}… ends in {value[-4:]}"
    return f"{value[:kept]}…"
