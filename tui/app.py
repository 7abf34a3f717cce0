"""The app: five modes, the keys that work everywhere, the themes, and what happens to errors. No business logic.

Screens are imported when they are first shown, so that nothing but Textual is loaded before the first paint.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.screen import Screen
from textual.worker import WorkerFailed

from tui.actions import bindings
from tui.keybursts import KeyBursts
from tui.themes import THEMES, TITLES, following

if TYPE_CHECKING:
    from core.errors import FinetuiError
    from core.recipe import Recipe

MODE_NAMES = ("data", "train", "monitor", "runs", "chat")


def _loader(mode: str) -> Callable[[], Screen[Any]]:
    """A function that imports and makes a mode's screen: `tui.screens.runs.RunsScreen` for `runs`."""

    def load() -> Screen[Any]:
        screen: Screen[Any] = getattr(import_module(f"tui.screens.{mode}"), f"{mode.title()}Screen")()
        return screen

    return load


class FinetuiApp(KeyBursts):
    """finetui.

    Args:
        mode: the screen to start on.
        run: a run to watch at once, or with the mode `chat` to talk to, or another side of a chat.
        beside: the other side of the chat.
        file: a data file to open at once.
        recipe: a recipe file to edit at once.
    """

    TITLE = "finetui"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    BINDINGS = bindings("app")
    MODES = {mode: _loader(mode) for mode in MODE_NAMES}
    ENABLE_COMMAND_PALETTE = False  # ours is made from the registry: tui.commands
    HORIZONTAL_BREAKPOINTS = [
        (0, "-narrow"),
        (100, "-normal"),
        (120, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (30, "-tall")]

    def __init__(
        self,
        mode: str = "runs",
        run: str | None = None,
        file: Path | None = None,
        recipe: Path | None = None,
        beside: str = "",
    ) -> None:
        # Textual starts in DEFAULT_MODE; set here, no other screen is made first.
        self.DEFAULT_MODE = mode  # type: ignore[misc]
        super().__init__()
        self.animation_level = "none"
        self._first = (mode, run, file, recipe)
        self._beside = beside
        self.recipe_task = ""
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = THEMES[0].name

    def on_mount(self) -> None:
        mode, run, file, recipe = self._first
        if run is not None and mode == "chat":
            self.chat_with(run, self._beside)
        elif run is not None:
            self.open_run(run)
        elif file is not None:
            self._enter_later("data", "open_path", file)
        elif recipe is not None:
            self._enter_later("train", "open_recipe_file", recipe)

    # -- what screens ask of the app

    def open_run(self, run_id: str) -> None:
        """Watch a run."""
        self._enter_later("monitor", "show_run", run_id)

    def chat_with(self, side: str, beside: str = "") -> None:
        """Talk to a run's model or another side, as core.serving.targets writes them; maybe with another beside it."""
        self._enter_later("chat", "talk_to", (side, beside) if beside else side)

    def serve_in_azure(self, verb: str, model: str) -> None:
        """Go to Azure's endpoints and `deploy` a tuned model, or `chat` with the endpoint that serves it."""
        self._enter_later("train", "to_endpoints", (verb, model))

    def use_data(self, path: Path, columns: dict[str, str] | None = None, task: str = "") -> None:
        """Set up a run on a data file, with its columns mapped, for a task."""
        source = {"path": str(path), "columns": columns} if columns else str(path)
        self._enter_later("train", "use_data", (source, task))

    def open_data(self, path: Path) -> None:
        """Look at a data file."""
        self._enter_later("data", "open_path", path)

    def edit_recipe(self, recipe: Recipe) -> None:
        """Open a recipe in the form."""
        self._enter_later("train", "edit", recipe)

    def show_error(self, error: FinetuiError) -> None:
        """Show an error in its three parts."""
        from tui.widgets.dialogs import ErrorDialog

        if isinstance(self.screen, ErrorDialog) and self.screen.error.as_dict() == error.as_dict():
            return  # once is enough
        self.push_screen(ErrorDialog(error))

    def notify(self, message: str, *, markup: bool = False, **options: Any) -> None:
        """A toast. Its text is never read as markup: it may hold names from outside."""
        super().notify(message, markup=markup, **options)

    def action_help_quit(self) -> None:
        """`ctrl+c` in no text field: people mean to leave."""
        self.notify("q or ctrl+q leaves finetui; runs go on")

    def copy(self, text: str) -> None:
        """Copy by the terminal (OSC 52), which works over SSH but never answers."""
        self.copy_to_clipboard(text)
        self.notify("copied (OSC 52; in tmux needs `set -g set-clipboard on`)")

    def _enter_later(self, mode: str, verb: str, argument: object) -> None:
        self.call_later(self._enter, mode, verb, argument)

    async def _enter(self, mode: str, verb: str, argument: object) -> None:
        await self.switch_mode(mode)
        getattr(self.screen_stack[0], verb)(argument)

    # -- errors

    def _handle_exception(self, error: Exception) -> None:
        """Textual's way out for every error: a failed worker is shown and the app lives on; the rest ends it."""
        if not isinstance(error, WorkerFailed) or not self.is_running:
            super()._handle_exception(error)
            return
        from tui.failures import explain

        self.show_error(explain(error.error))

    # -- actions

    def action_data(self) -> None:
        self.switch_mode("data")

    def action_train(self) -> None:
        self.switch_mode("train")

    def action_monitor(self) -> None:
        self.switch_mode("monitor")

    def action_runs(self) -> None:
        self.switch_mode("runs")

    def action_chat(self) -> None:
        self.switch_mode("chat")

    def action_help(self) -> None:
        from tui.screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def action_commands(self) -> None:
        from tui.commands import Palette

        self.push_screen(Palette())

    def action_theme(self) -> None:
        theme = following(self.theme)
        self.theme = theme.name
        self.notify(f"Colours: {TITLES[theme.name]}")

    async def action_quit(self) -> None:
        """Leave at once: runs are processes of their own and go on."""
        self.exit()
