"""What the keys of the chat do to the talk itself: messages, branches, votes, sides, settings."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from textual import work

from core.errors import FinetuiError
from tui.conversation import Settings, last_reply, names_of, transcript
from tui.format import one_line
from tui.screens.chat_replies import ChatReplies

FORMS = (
    "RUN, RUN@STEP, RUN@base, deployment:NAME/MODEL, azure:NAME or https://HOST/v1#MODEL,key=VARIABLE. VARIABLE is the "
    "environment variable that holds the key. Prices in USD for a million tokens: ,in=0.15,out=0.6"
)
OTHER = " other"
"""No side is written so: it begins with a blank."""


class ChatActions(ChatReplies):
    """The keys of the talk."""

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        turn = self.turn
        match action:
            case "write_message" | "settings":
                return "A" in self.sides
            case "both" | "panes" | "blind":
                return "B" in self.sides
            case "editor":
                return "A" in self.sides and not self.busy
            case "again" | "change":
                return turn is not None and "A" in self.sides and not self.busy
            case "stop":
                return self.busy
            case "vote_left" | "vote_right" | "vote_tie":
                return self.blind and turn is not None and turn.hidden and turn.answered and not self.busy
            case "copy":
                return turn is not None or bool(self.sign_in.code)
            case "clear" | "write" | "raw":
                return turn is not None
            case "next_turn" | "previous_turn":
                return len(self.talk.turns) > 1
            case "next_branch" | "previous_branch":
                return turn is not None and not self.busy and len(self.talk.siblings(turn)) > 1
        return super().check_action(action, parameters)

    # -- messages

    def action_write_message(self) -> None:
        self.set_focus(self.message)

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

    def action_stop(self) -> None:
        self.stop()

    def action_again(self) -> None:
        """Ask for the replies to the turn once more; those there are stay, as a branch."""
        if self.turn is not None:
            self.say_instead(self.turn, self.turn.text)
            if self.settings.temperature == 0:
                self.notify("At temperature 0 a model says the same again; o changes it.")

    @work(group="dialog")
    async def action_change(self) -> None:
        """Say something else in the turn's place; what was said stays, as a branch."""
        from tui.external import edit
        from tui.widgets.dialogs import Ask

        turn = self.turn
        assert turn is not None
        text: str | None
        if "\n" in turn.text:  # a field has one line
            try:
                text = edit(self.app, turn.text)
            except FinetuiError as error:
                self.finetui.show_error(error)
                return
        else:
            note = "What was said before stays beside it: [ goes back there."
            text = await self.app.push_screen_wait(Ask("Say instead", turn.text, "", note))
        if text and text.strip() and text.strip() != turn.text:
            self.say_instead(turn, text.strip())

    # -- turns and branches

    def action_next_turn(self) -> None:
        self._mark(1)

    def action_previous_turn(self) -> None:
        self._mark(-1)

    def _mark(self, by: int) -> None:
        path, turn = self.talk.path(), self.turn
        if turn is not None:
            self.marked = path[min(max(path.index(turn) + by, 0), len(path) - 1)].number
            self.show_all()
            self.scroll_to_turn()

    def action_next_branch(self) -> None:
        self._move(1)

    def action_previous_branch(self) -> None:
        self._move(-1)

    def _move(self, by: int) -> None:
        if self.turn is None:
            return
        chat, shown = self.talk.chat, self.talk.move(self.turn, by)
        self.marked = shown.number
        self.keeping.later(lambda chats: chats.choose(chat, shown))
        self.show_all()
        self.scroll_to_turn()

    # -- votes

    def action_blind(self) -> None:
        """Begin a blind vote, or end it: what was not voted on is shown then, and can't be any more."""
        self.blind = not self.blind
        if self.blind:
            self.beside = True
        else:
            self._reveal()
        self.show_all()
        self.notify(
            "From the next message on you don't see which side says what until you have voted."
            if self.blind
            else "No vote any more: both sides are shown by name."
        )

    def _reveal(self) -> None:
        for turn in self.talk.turns.values():
            if turn.hidden:
                turn.left = ""
                self.keep_turn(turn, shown=False)

    def action_vote_left(self) -> None:
        self._vote("left")

    def action_vote_right(self) -> None:
        self._vote("right")

    def action_vote_tie(self) -> None:
        self._vote("tie")

    def _vote(self, choice: str) -> None:
        turn = self.turn
        if turn is not None and self.check_action("vote_tie", ()):
            turn.vote = choice if choice == "tie" else turn.shown(choice)
            self.keep_turn(turn, shown=False)
            self.show_all()
            self.count_votes()

    # -- who is seen and how

    def action_both(self) -> None:
        """With or without B; what it has not answered yet is answered then."""
        self.beside = not self.beside
        if not self.beside:
            if self.blind:
                self.notify("No vote any more: a vote needs both sides, and they are shown by name.")
            self.blind = False
            self._reveal()
            self.set_class(False, "-right")
            self.set_focus(self.panes["left"])
        self.show_all()
        if self.beside and self.talk.turns and not self.busy:
            self.problem.clear()
            self.answer()

    def action_panes(self) -> None:
        """The other pane; where only one fits, it is shown instead."""
        if not self.beside:
            return
        place = "left" if self.place == "right" else "right"
        self.set_class(place == "right", "-right")
        self.set_focus(self.panes[place])

    def action_raw(self) -> None:
        """Replies as they were written, or laid out."""
        self.raw = not self.raw
        self.show_all()

    def action_copy(self) -> None:
        if text := self.sign_in.code or last_reply(self.talk, self.place):
            self.finetui.copy(text)

    def action_clear(self) -> None:
        """An empty chat with the same sides; the one before is kept (a lists them)."""
        self.workers.cancel_group(self, "reply")
        self.problem.clear()
        self.start_over()

    @work(group="dialog")
    async def action_write(self) -> None:
        from tui.saving import ask_and_write

        text = transcript(self.talk, names_of(self.titles), self.settings)
        await ask_and_write(self.finetui, "Write the conversation to a file", "chat.txt", text)

    @work(group="dialog")
    async def action_settings(self) -> None:
        from tui.widgets.chatsettings import ChatSettings

        settings = await self.app.push_screen_wait(ChatSettings(self.settings))
        if settings is not None:
            self.changed_settings(settings)

    def changed_settings(self, settings: Settings) -> None:
        """Take settings over; they hold from the next reply on."""
        self.settings = settings
        self.show_settings()
        if chat := self.talk.chat:
            self.keeping.later(lambda chats: chats.put_settings(chat, asdict(settings)))

    @work(group="dialog")
    async def action_choose_run(self) -> None:
        """Choose who is talked to on the side that has the focus; that begins a new chat."""
        from core.serving import targets
        from tui.widgets.dialogs import Ask, Choose

        side = "B" if self.place == "right" and not self.blind else "A"
        try:
            found = await asyncio.to_thread(targets.choices)
            used = await self.keeping.ask(lambda chats: chats.endpoints())
        except FinetuiError as error:
            self.show_problem(error)
            return
        options = {item.spec: (one_line(item.title), item.spec) for item in found}
        for spec in used:
            options.setdefault(spec, (spec, "used before"))
        current = self.sides[side].spec if side in self.sides else ""
        listed = [(spec, title, note) for spec, (title, note) in options.items()]
        other = (OTHER, "another ...", "an address, an Azure endpoint, a checkpoint")
        chosen = await self.app.push_screen_wait(Choose(f"Side {side}: talk to", [*listed, other], current))
        if chosen == OTHER:
            chosen = await self.app.push_screen_wait(
                Ask(f"Side {side}", current, "https://HOST/v1#MODEL", FORMS)
            )
        if chosen and chosen.strip() and chosen.strip() != current:
            self.choose_side(side, chosen.strip())
