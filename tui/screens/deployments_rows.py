"""What becomes of kept requests: chats with a deployment, corrected if need be, are training rows of a better model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from core.errors import FinetuiError
from tui.format import clock, count, one_line, visible
from tui.screens.deployments_actions import DeploymentActions
from tui.widgets.dialogs import Choices, Dialog
from tui.widgets.rowsfile import ask_rows_file

if TYPE_CHECKING:
    from core.recipe import Recipe
    from core.serving.request_log import Entry
    from tui.deployment_watch import Watched

NEWEST = 500
"""Kept chats that are offered, the last ones."""
PROMPT_CHARACTERS = 300
CHECK, TRAIN = "check", "train"


class RowPicker(Dialog[str | None]):
    """Chooses chats that become training rows; answers with what is to be done with the file, if anything.

    Args:
        name: of the deployment.
        chats: the kept ones, the newest first.
        path: the file of rows, None before one was named.

    Attributes:
        path: the same, or another that was named meanwhile.
    """

    KEYS = "enter keep   e correct   f file   d check   t train   esc close"
    BINDINGS = [
        Binding("e", "correct", show=False),
        Binding("f", "file", show=False),
        Binding("d", "check", show=False),
        Binding("t", "train", show=False),
    ]
    DEFAULT_CSS = """
    RowPicker #dialog { width: 110; }
    RowPicker OptionList, RowPicker OptionList:focus { max-height: 10; }
    RowPicker #text { height: 6; margin: 1 0 0 0; color: $foreground 80%; }
    RowPicker #note { margin: 1 0 0 0; }
    """

    def __init__(self, name: str, chats: Sequence[Entry], path: Path | None) -> None:
        super().__init__()
        self.path = path
        self._name = name
        self._chats = list(chats)
        self._kept: set[int] = set()
        self._list = Choices(markup=False)
        self._text = Static("", markup=False)
        self._note = Static("", id="note", markup=False)

    @property
    def heading(self) -> str:
        number = len(self._chats)
        return f"Training rows from {self._name}: {count(number)} kept chat{'' if number == 1 else 's'}"

    def compose_content(self) -> ComposeResult:
        yield self._list
        with VerticalScroll(id="text", can_focus=False):
            yield self._text
        yield self._note

    def on_mount(self) -> None:
        self._list.add_options([Option(self._words(entry), id=str(entry.id)) for entry in self._chats])
        self._list.highlighted = 0
        self._say()

    def _words(self, entry: Entry) -> str:
        sign = "✓" if entry.id in self._kept else " "
        return f"{sign} {clock(entry.at)}  {one_line((entry.prompt or '')[:PROMPT_CHARACTERS])}"

    def _say(self, text: str = "") -> None:
        place = f"rows go to {one_line(str(self.path))}" if self.path else "enter asks for the file of rows"
        self._note.update(Content(text or place))

    @property
    def _entry(self) -> Entry:
        return self._chats[self._list.highlighted or 0]

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        entry = self._entry
        self._text.update(
            Content(
                f"{visible(entry.prompt or '', lines=True)}\n→ {visible(entry.completion or '', lines=True)}"
            )
        )

    @on(OptionList.OptionSelected)
    def _chosen(self) -> None:
        self._keep(False)

    def action_correct(self) -> None:
        self._keep(True)

    @work(exclusive=True, group="keep")
    async def _keep(self, corrected: bool) -> None:
        """Append the chat to the file, its reply corrected in $EDITOR if need be."""
        from core.serving.rows import append_row, row_of
        from tui.external import edit

        if self.path is None and not await self._ask_file():
            return
        assert self.path is not None
        entry = self._entry
        reply = (entry.completion or "").strip()
        try:
            if corrected:
                reply = edit(self.app, reply)
            if not reply:
                self._say("Nothing was written: the reply is empty.")
                return
            number = await asyncio.to_thread(append_row, self.path, row_of(entry, reply))
        except FinetuiError as error:
            self.app.show_error(error)  # type: ignore[attr-defined]
            return
        self._kept.add(entry.id)
        self._list.replace_option_prompt(str(entry.id), self._words(entry))
        self._say(f"row {number} written: {one_line(str(self.path))}")

    @work(exclusive=True, group="keep")
    async def action_file(self) -> None:
        if await self._ask_file():
            self._say()

    async def _ask_file(self) -> bool:
        path = await ask_rows_file(self.app, self.path or Path(f"{self._name}-rows.jsonl"))
        self.path = path or self.path
        return path is not None

    def action_check(self) -> None:
        self._leave(CHECK)

    def action_train(self) -> None:
        self._leave(TRAIN)

    def _leave(self, answer: str) -> None:
        if self.path is not None and self.path.exists():
            self.dismiss(answer)
        else:
            self._say("No row is written yet: enter keeps the chat under the cursor.")


class DeploymentRows(DeploymentActions):
    """A screen whose chosen deployment gives training rows.

    Attributes:
        rows_files: where rows of a deployment go, by its name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows_files: dict[str, Path] = {}

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "collect":
            return self.chosen() is not None
        return super().check_action(action, parameters)

    @work(group="dialog")
    async def action_collect(self) -> None:
        """Choose kept chats that become training rows, then check the rows or train on them."""
        from core.serving.request_log import kept_chats

        item = self.chosen()
        if item is None:
            return
        here = item.deployment
        if not here.settings.keep_texts:
            self.notify(f"{here.name} keeps no texts (`finetui deploy --keep-texts` makes one that does).")
            return
        chats = await self.attempt(kept_chats, here.directory, NEWEST)
        if chats is None:
            return
        if not chats:
            self.notify("No chat was answered and kept yet; they are offered here as they come.")
            return
        picker = RowPicker(here.name, chats[::-1], self.rows_files.get(here.name))
        answer = await self.app.push_screen_wait(picker)
        path = picker.path
        if path is None:
            return
        self.rows_files[here.name] = path
        if answer == CHECK:
            self.finetui.open_data(path)
        elif answer == TRAIN:
            await self._improve(item, path)

    async def _improve(self, item: Watched, path: Path) -> None:
        """Set up a run on the rows that goes on from what is served."""
        from tui.widgets.dialogs import Choose

        tuned = [model for model in item.deployment.models if model.kind == "tuned"]
        spec: str | None = _spec(tuned[0].run, tuned[0].checkpoint)
        if len(tuned) > 1:
            options = [
                (_spec(model.run, model.checkpoint), model.name, one_line(model.run)) for model in tuned
            ]
            spec = await self.app.push_screen_wait(Choose("Go on from which model?", options))
        if spec is not None and (recipe := await self.attempt(_recipe, spec, path)) is not None:
            self.finetui.edit_recipe(recipe)


def _spec(run: str, checkpoint: int | None) -> str:
    return run if checkpoint is None else f"{run}@{checkpoint}"


def _recipe(spec: str, path: Path) -> Recipe:
    from core.serving.targets import target
    from tui.screens.chat_rows import improving

    return improving(target(spec).spec, path)
