"""Judging two sides, as command and page do it: what is asked, and what is being judged just now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import FinetuiError
from core.serving.talk import SIDES
from tui.evaluating import Step
from tui.failures import on_page

if TYPE_CHECKING:
    from textual.worker import Worker

    from core.serving.targets import Side
    from tui.screens.chat_replies import ChatReplies

ROWS = 100
MAX_TOKENS = 128


@dataclass(frozen=True)
class Settings:
    """How two sides are judged.

    Args:
        rows: how many at most.
        max_tokens: longest reply.
        data: rows to ask instead of the run's validation rows.
        prompts: prompts to ask instead of either.
    """

    rows: int = ROWS
    max_tokens: int = MAX_TOKENS
    data: Path | None = None
    prompts: Path | None = None

    def words(self) -> str:
        """What is asked, in a few words."""
        if self.prompts is not None:
            return f"prompts of {self.prompts.name}"
        return "validation rows" if self.data is None else f"rows of {self.data.name}"


def run_of(sides: dict[str, Side]) -> Path | None:
    """The directory of the run that one of the sides is of, A before B; None for two endpoints.

    Raises:
        RunError: it is gone.
    """
    from core.runs import supervisor
    from core.serving.targets import Target

    found = [side for name in SIDES if isinstance(side := sides[name], Target)]
    return supervisor.get(found[0].run_id).directory if found else None


def wanted(sides: dict[str, Side], settings: Settings, seed: int, system: str) -> dict[str, Any]:
    """What the worker is asked to judge, see core.serving.judge.Wanted.

    Args:
        sides: A and B.
        settings: how.
        seed: of the choice of rows.
        system: a system message before each prompt.

    Raises:
        RunError: the run is gone.
    """

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path.expanduser().absolute())

    return {
        "specs": {name: sides[name].spec for name in SIDES},
        "titles": {name: sides[name].title for name in SIDES},
        "run": text(run_of(sides)),
        "data": text(settings.data),
        "prompts": text(settings.prompts),
        "rows": settings.rows,
        "max_tokens": settings.max_tokens,
        "seed": seed,
        "system": system,
    }


def read_judgement(sides: dict[str, Side]) -> dict[str, Any] | None:
    """The newest judgement of two sides, or None.

    Raises:
        FinetuiError: the run is gone, or what is kept is damaged.
    """
    from core.serving.judgements import latest

    return latest((sides["A"].spec, sides["B"].spec), run_of(sides))


class Judgings:
    """What the chat judges, whether or not its page is open.

    Attributes:
        working: something is being judged.
        step: how far it is.
        settings: of the next one.
        wrong: what went wrong last.
    """

    def __init__(self) -> None:
        self.working = False
        self.step = Step("")
        self.settings = Settings()
        self.wrong: FinetuiError | None = None
        self._worker: Worker[None] | None = None

    def begin(self, chat: ChatReplies) -> None:
        """Judge the chat's two sides in the background."""
        if not self.working:
            self.working, self.step, self.wrong = True, Step("starting"), None
            self._worker = chat.run_worker(self._judge(chat), group="judge")

    def stop(self) -> None:
        """Give up what is being judged; nothing of it is kept."""
        if self._worker is not None:
            self._worker.cancel()

    async def _judge(self, chat: ChatReplies) -> None:
        from tui.screens.judge import JudgeScreen

        sides, settings = dict(chat.sides), self.settings
        try:
            asked = await asyncio.to_thread(wanted, sides, settings, chat.settings.seed, chat.settings.system)
            await chat.judge(sides, asked, self._told)
            if not isinstance(chat.app.screen, JudgeScreen):  # there it is seen
                chat.notify("A and B are judged: d in the chat shows it.")
        except FinetuiError as error:
            self.wrong = on_page(error)
        finally:
            self.working = False

    def _told(self, step: Step) -> None:
        self.step = step
