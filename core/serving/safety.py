"""What may not be asked and not be answered: a block list, Azure AI Content Safety, or a guard model.

Prompts are checked before a model sees them. A reply is held back until it has been checked: text that is blocked
never reaches the client, in a stream neither. A check that can't be made blocks: nothing passes unseen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from core.errors import FinetuiError
from core.serving.patterns import Automaton, Pattern, Search, plain, read_patterns

BLOCK_LIST = "blocklist.txt"
"""The deployment's own copy of its patterns."""
YIELD_EVERY = 1 << 14
"""Characters searched before other requests have a turn."""
LEAST_PIECE, LONGEST_PIECE = 120, 400
"""Characters of a stream that are judged at once: from the first on at the end of a sentence, or at the second."""
SEEN_AGAIN = 400
"""Characters judged before that a piece is judged with, so that nothing hides in a border."""
SENTENCE_ENDS = ".!?\n。！？"


class SafetyError(FinetuiError):
    """Safety can't be set up, or a check can't be made."""


class Blocked(Exception):  # noqa: N818 - a finding, not a failure
    """A text may not pass.

    Args:
        category: what was found; never the text.
    """

    def __init__(self, category: str) -> None:
        super().__init__(category)
        self.category = category


class Gate(Protocol):
    """A reply on its way to the client, piece by piece."""

    async def feed(self, text: str) -> str:
        """What of the text so far may go on.

        Raises:
            Blocked: it may not; nothing of what was found has gone on.
            SafetyError: it can't be checked.
        """

    async def end(self) -> str:
        """What was held back, now that no more comes; raises as `feed`."""


class Safety(Protocol):
    """One way to judge texts."""

    async def check(self, texts: Iterable[str]) -> None:
        """Judge whole texts, each by itself.

        Raises:
            Blocked: one of them may not pass.
            SafetyError: they can't be checked.
        """

    def gate(self) -> Gate:
        """For one reply."""

    async def close(self) -> None:
        """Let go of connections."""


class Judge(Protocol):
    """A service or model that is asked about a text."""

    async def judge(self, text: str) -> str:
        """What is wrong with it, or empty.

        Raises:
            SafetyError: it gives no judgement.
        """

    async def close(self) -> None:
        """Let go of connections."""


def open_safety(setting: dict[str, Any], directory: Path) -> Safety | None:
    """The safety of a deployment; None when it is off.

    Args:
        setting: `{"kind": "off"}`, `{"kind": "patterns"}`, `{"kind": "azure", "thresholds": {category: severity}}` or
            `{"kind": "guard", "deployment": name, "model": name}`.
        directory: the deployment's.

    Raises:
        SafetyError, PatternError: it can't be set up; the gateway must not start without it.
    """
    match setting.get("kind"):
        case "off":
            return None
        case "patterns":
            return BlockList(read_patterns(directory / BLOCK_LIST))
        case "azure":
            from core.serving.safety_azure import AzureJudge

            return Judged(AzureJudge.from_environment(setting["thresholds"]))
        case "guard":
            from core.serving.safety_guard import GuardJudge

            return Judged(GuardJudge(setting["deployment"], setting["model"]))
    raise SafetyError(
        f"The deployment's safety {setting.get('kind')!r} is not known.",
        "A newer finetui may have written it.",
        "Update finetui.",
    )


class BlockList:
    """Patterns that neither side may write.

    Args:
        patterns: of a file.
    """

    def __init__(self, patterns: list[Pattern]) -> None:
        self._automaton = Automaton(patterns)

    async def check(self, texts: Iterable[str]) -> None:
        for text in texts:
            search = Search(self._automaton)
            for start in range(0, len(text), YIELD_EVERY):
                _refuse(search.feed(text[start : start + YIELD_EVERY]))
                if len(text) > YIELD_EVERY:
                    await asyncio.sleep(0)
            _refuse(search.end())

    def gate(self) -> Gate:
        return _PatternGate(self._automaton)

    async def close(self) -> None:
        """Nothing is held."""


def _refuse(pattern: Pattern | None) -> None:
    if pattern is not None:
        raise Blocked(f"block list, {pattern.name}")


class _PatternGate:
    """Holds back as many characters as the longest match has: a match that is not known yet lies within them."""

    def __init__(self, automaton: Automaton) -> None:
        self._search = Search(automaton)
        self._window = automaton.longest
        self._held: list[str] = []
        self._seen = 0

    async def feed(self, text: str) -> str:
        _refuse(self._search.feed(text))
        self._held.extend(text)
        self._seen += sum(len(plain(character)) for character in text)
        free = 0
        for character in self._held:
            width = len(plain(character))
            if self._seen - width < self._window:
                break
            self._seen -= width
            free += 1
        released, self._held = "".join(self._held[:free]), self._held[free:]
        return released

    async def end(self) -> str:
        _refuse(self._search.end())
        released, self._held = "".join(self._held), []
        return released


class Judged:
    """Texts judged by somebody who is asked.

    Args:
        judge: who.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    async def check(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text.strip() and (category := await self._judge.judge(text)):
                raise Blocked(category)

    def gate(self) -> Gate:
        return _JudgedGate(self)

    async def close(self) -> None:
        await self._judge.close()


class _JudgedGate:
    """Asks about one piece after the other, each with what went before it."""

    def __init__(self, judged: Judged) -> None:
        self._judged = judged
        self._held = ""
        self._passed = ""

    async def feed(self, text: str) -> str:
        self._held += text
        whole = len(self._held) >= LEAST_PIECE and self._held.rstrip(" ")[-1:] in SENTENCE_ENDS
        return await self.end() if whole or len(self._held) >= LONGEST_PIECE else ""

    async def end(self) -> str:
        released, self._held = self._held, ""
        if released:
            await self._judged.check([self._passed + released])
            self._passed = (self._passed + released)[-SEEN_AGAIN:]
        return released
