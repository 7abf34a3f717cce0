"""What becomes of chats: kept ones are opened again, good replies become training rows, rows a better model."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, work

from core.errors import FinetuiError
from core.serving.chats import Row
from core.serving.talk import SIDES, Talk
from tui.format import one_line
from tui.judging import Judgings
from tui.screens.chat_actions import ChatActions

if TYPE_CHECKING:
    from core.recipe import Recipe
    from core.serving.targets import Side

EDIT, FILE = " edit", " file"
KEYS = {"d": "judge", "w": "save", "t": "improve"}
KEPT_OF_BASE = ("model", "model_revision", "chat_template", "quantization")
"""What a run that goes on from another has in common with it."""


class ChatRows(ChatActions):
    """The keys around the talk.

    Attributes:
        rows_file: where rows are written, None before the first.
        judgings: what is judged.
        trained: the model of a run that a side gives, as core.serving.targets writes it; empty where none does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows_file: Path | None = None
        self.judgings = Judgings()
        self.trained = ""

    def take_sides(self, sides: dict[str, Side], row: Row | None = None, talk: Talk | None = None) -> None:
        from core.serving.targets import trained_spec

        found = (trained_spec(sides[side]) for side in SIDES if side in sides)
        self.trained = next(filter(None, found), "")
        super().take_sides(sides, row, talk)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        turn = self.turn
        match action:
            case "save":
                return turn is not None and not turn.hidden and bool(self._savable())
            case "rows":
                return bool(self.sides)
            case "improve":
                return bool(self.trained)
            case "judge":
                return len(self.sides) == len(SIDES)
        return super().check_action(action, parameters)

    def on_key(self, event: events.Key) -> None:
        """Say why a key of this part does nothing now: its absence from the footer alone is easily missed."""
        action = KEYS.get(event.key)
        if action is not None and self.sides and not self.check_action(action, ()):
            self.notify(self._why_not(action))

    def _why_not(self, action: str) -> str:
        turn = self.turn
        if action == "judge":
            return (
                "Judging holds two sides against each other, and here is one: `finetui chat A B` opens two."
            )
        if action == "improve":
            return "t goes on from the model of a run on this machine; no side here is one."
        if turn is None:
            return "Nothing was said yet: w saves a reply as a training row."
        if turn.hidden:
            return "Vote first (h, l or =): w would show which side is which."
        return "There is no reply in this turn to save: r asks again."

    # -- kept chats

    @work(group="dialog")
    async def action_chats(self) -> None:
        """Choose a kept chat and go on with it."""
        from tui.screens.chat_list import ChatList

        try:
            rows = await self.keeping.ask(lambda chats: chats.all())
            chosen = await self.app.push_screen_wait(ChatList(rows, self.keeping, self.talk.chat))
            if chosen is None or chosen == self.talk.chat:
                return
            row, talk = await self.keeping.ask(lambda chats: chats.read(chosen))
        except FinetuiError as error:
            self.show_problem(error)
            return
        self.open_chat(row, talk)

    @work(thread=True, exclusive=True, group="find")
    def open_chat(self, row: Row, talk: Talk) -> None:
        """Go on with a kept chat; of a side that is gone the words are still there."""
        from core.serving import targets

        found: dict[str, Side] = {}
        wrong: FinetuiError | None = None
        for side, spec in zip(SIDES, (row.a, row.b), strict=True):
            try:
                if spec:
                    found[side] = targets.side(spec)
            except FinetuiError as error:
                wrong = error
        self.app.call_from_thread(self._opened, found, row, talk, wrong)

    def _opened(self, sides: dict[str, Side], row: Row, talk: Talk, wrong: FinetuiError | None) -> None:
        self._asked = True
        self.take_sides(sides, row, talk)
        self.set_class(True, "-talking")
        if wrong is not None:
            self.show_problem(wrong)

    # -- rows

    def _savable(self) -> list[str]:
        turn = self.turn
        if turn is None:
            return []
        return [side for side in SIDES if side in turn.replies and turn.replies[side].text.strip()]

    @work(group="dialog")
    async def action_save(self) -> None:
        """Append a reply of the turn, corrected if need be, to a file of training rows."""
        from core.serving.rows import append_row, training_row
        from tui.external import edit
        from tui.widgets.dialogs import Choose

        turn, talk = self.turn, self.talk
        assert turn is not None
        chosen = await self.app.push_screen_wait(
            Choose("Save as a training row", self._ways(), turn.vote if turn.vote in SIDES else "")
        )
        if chosen is None:
            return
        needed = chosen == FILE or self.rows_file is None
        if (needed and not await self._ask_file()) or chosen == FILE:
            return
        side = chosen.removesuffix(EDIT)
        reply = turn.replies[side].text.strip()
        try:
            if chosen.endswith(EDIT):
                reply = edit(self.app, reply)
                if not reply:
                    self.notify("Nothing was written: the reply is empty.")
                    return
            row = training_row(talk.messages(side, turn, self.settings.system), reply)
            assert self.rows_file is not None
            rows = await asyncio.to_thread(append_row, self.rows_file, row)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        train = ", t trains on them" if self.trained else ""
        self.notify(f"row {rows} written: {self.rows_file}   D checks the rows{train}")
        self.refresh_bindings()

    def _ways(self) -> list[tuple[str, str, str]]:
        turn = self.turn
        assert turn is not None
        ways = []
        for side in self._savable():
            text = one_line(turn.replies[side].text[:200])
            ways += [
                (side, f"{side} as it is", text),
                (f"{side}{EDIT}", f"{side} corrected in $EDITOR", self.titles.get(side, "")),
            ]
        place = self.rows_file if self.rows_file is not None else "none yet"
        return [*ways, (FILE, "another file", f"now {one_line(str(place))}")]

    async def _ask_file(self) -> bool:
        from tui.widgets.rowsfile import ask_rows_file

        usual = self.rows_file or Path(f"{self.trained.partition('@')[0] or 'chat'}-rows.jsonl")
        path = await ask_rows_file(self.app, usual)
        self.rows_file = path or self.rows_file
        return path is not None

    @work(group="dialog")
    async def action_rows(self) -> None:
        """Look at the saved rows in Data, where they are checked."""
        path = await self._saved()
        if path is not None:
            self.finetui.open_data(path)

    async def _saved(self) -> Path | None:
        """The file of rows, asked for where none was written yet; None without one."""
        if self.rows_file is None and not await self._ask_file():
            return None
        path = self.rows_file
        assert path is not None
        if not path.exists():
            self.notify(f"There are no rows in {path} yet: w saves one.")
            self.rows_file = None
            return None
        return path

    # -- a better model

    @work(group="dialog")
    async def action_improve(self) -> None:
        """Set up a run on the saved rows that goes on from the model that is talked to."""
        path = await self._saved()
        if path is None:
            return
        try:
            recipe = await asyncio.to_thread(improving, self.trained, path)
        except FinetuiError as error:
            self.finetui.show_error(error)
            return
        self.finetui.edit_recipe(recipe)

    # -- judging

    def action_judge(self) -> None:
        """Both sides on the same rows or prompts, with figures."""
        from tui.screens.judge import JudgeScreen

        self.app.push_screen(JudgeScreen(self, self.judgings))


def improving(spec: str, rows: Path) -> Recipe:
    """A recipe that goes on from a run's model with other rows.

    Args:
        spec: the run, or `RUN@STEP`.
        rows: the file.

    Raises:
        RunError: the run is gone.
        RecipeError: its recipe doesn't fit this version.
    """
    from core.recipe import build
    from core.runs import supervisor
    from core.runs.directory import RunDirectory

    before = RunDirectory(supervisor.get(spec.partition("@")[0]).directory).recipe()
    common = {name: value for name in KEPT_OF_BASE if (value := getattr(before, name)) is not None}
    return build({**common, "data": [str(rows)], "init_from": spec})
