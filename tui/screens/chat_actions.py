"""What the keys of the chat do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from textual import work
from textual.worker import Worker

from core.errors import FinetuiError
from tui.conversation import Conversation, Settings
from tui.screens.base import ModeScreen
from tui.widgets.field import Field
from tui.widgets.problem import Problem
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from core.serving.targets import Target
    from tui.app import FinetuiApp


class ChatActions(ModeScreen):
    """The chat without its models."""

    target: Target | None
    conversation: Conversation
    settings: Settings
    beside: bool
    busy: bool
    panes: dict[str, TextPane]
    message: Field
    problem: Problem

    def send(self, text: str) -> None:
        """Say something to both sides."""
        raise NotImplementedError

    def answer(self) -> Worker[None]:
        """Write every reply that is missing."""
        raise NotImplementedError

    def talk_to(self, run_id: str) -> None:
        """Talk to a run's model."""
        raise NotImplementedError

    def start_over(self) -> None:
        """Forget the conversation."""
        raise NotImplementedError

    def changed_settings(self, settings: Settings) -> None:
        """Take settings over."""
        raise NotImplementedError

    @property
    def finetui(self) -> FinetuiApp:
        """The app, by its own type."""
        return self.app  # type: ignore[return-value]

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        match action:
            case "write_message" | "both" | "settings" | "panes":
                return self.target is not None
            case "editor":
                return self.target is not None and not self.busy
            case "again":
                return bool(self.conversation.turns) and not self.busy
            case "stop":
                return self.busy
            case "clear" | "copy" | "write":
                return bool(self.conversation.turns)
        return super().check_action(action, parameters)

    def action_write_message(self) -> None:
        self.set_focus(self.message)

    def action_stop(self) -> None:
        self.workers.cancel_group(self, "reply")

    def action_both(self) -> None:
        """With or without the base; what it has not answered yet is answered then."""
        self.beside = not self.beside
        self.set_class(not self.beside, "-alone")
        if not self.beside:
            self.set_class(False, "-base")
            self.set_focus(self.panes["tuned"])
        elif self.conversation.turns and not self.busy:
            self.answer()

    def action_panes(self) -> None:
        """The other column; where only one fits, it is shown instead."""
        if not self.beside:
            return
        base = self.panes["base"]
        target = self.panes["tuned"] if self.focused is base else base
        self.set_class(target is base, "-base")
        self.set_focus(target)

    def action_again(self) -> None:
        """Ask for the replies to the last message once more."""
        self.conversation.turns[-1].replies.clear()
        self.answer()

    def action_clear(self) -> None:
        """An empty conversation; the old one is gone, so it can be written to a file first with `w`."""
        self.workers.cancel_group(self, "reply")
        self.problem.clear()
        self.start_over()

    def action_copy(self) -> None:
        side = "base" if self.focused is self.panes["base"] else "tuned"
        for turn in reversed(self.conversation.turns):
            if side in turn.replies and turn.replies[side].text:
                self.finetui.copy(turn.replies[side].text)
                return

    @work(group="dialog")
    async def action_write(self) -> None:
        from tui.saving import ask_and_write

        assert self.target is not None
        names = {"tuned": self.target.title, "base": "base"}
        text = self.conversation.transcript(names, self.settings)
        await ask_and_write(
            self.finetui, "Write the conversation to a file", f"{self.target.run_id}-chat.txt", text
        )

    @work(group="dialog")
    async def action_settings(self) -> None:
        from tui.widgets.chatsettings import ChatSettings

        settings = await self.app.push_screen_wait(ChatSettings(self.settings))
        if settings is not None:
            self.changed_settings(settings)

    @work(group="dialog")
    async def action_choose_run(self) -> None:
        from core.serving import targets
        from tui.widgets.dialogs import Choose

        found = await asyncio.to_thread(targets.targets)
        if not found:
            self.notify("No run has a model yet.")
            return
        options = [(item.run_id, item.title, item.note) for item in found]
        current = self.target.run_id if self.target else ""
        chosen = await self.app.push_screen_wait(Choose("Talk to", options, current))
        if chosen is not None:
            self.talk_to(chosen)

    def action_editor(self) -> None:
        from tui.external import edit

        try:
            text = edit(self.app, self.message.value)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        if text:
            self.message.value = ""
            self.send(text)
