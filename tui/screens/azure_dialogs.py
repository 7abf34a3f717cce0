"""The dialog before an endpoint is made: its name, the content filter, and what it costs."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.format import one_line, visible
from tui.widgets.dialogs import Choices, Dialog
from tui.widgets.field import Field

ON, OFF = "on", "off"


class DeployDialog(Dialog["tuple[str, bool] | None"]):
    """How a model is to be deployed: (name, content safety on); None when the user thinks better of it.

    Args:
        model: `name:version` of the tuned model.
        name: proposed for the endpoint.
        costs: what it costs and where, in words.
        terms: what holds for its use.
    """

    KEYS = "enter next, then deploy   tab next   esc cancel"
    BINDINGS = [Binding("tab", "app.focus_next", show=False)]
    AUTO_FOCUS = "Field"
    DEFAULT_CSS = """
    DeployDialog Static { height: auto; margin: 0 0 1 0; }
    DeployDialog .label, DeployDialog #wrong, DeployDialog Field { margin: 0; }
    DeployDialog #dialog { max-height: 96%; padding: 1 2 0 2; }
    DeployDialog #wrong { height: 1; }
    DeployDialog Choices, DeployDialog Choices:focus { border: none; height: 2; margin: 0 0 1 0; }
    """

    def __init__(self, model: str, name: str, costs: str, terms: str) -> None:
        super().__init__()
        self._model = model
        self._proposed = name
        self._costs = costs
        self._terms = terms

    @property
    def heading(self) -> str:
        return f"Deploy {one_line(self._model)}"

    def compose_content(self) -> ComposeResult:
        from core.azure.endpoints import SAFETY_OFF, SAFETY_ON

        yield Static("Name of the endpoint, unique in its region:", markup=False, classes="label")
        yield Field(self._proposed, id="endpoint-name", select_on_focus=True)
        yield Static("", id="wrong", classes="error", markup=False)
        yield Choices(Option("Content safety on", id=ON), Option("Content safety off", id=OFF), markup=False)
        yield Static(f"{SAFETY_ON}\n{SAFETY_OFF}", markup=False)
        yield Static(visible(self._costs), markup=False)
        yield Static(visible(self._terms), markup=False, classes="label")

    def on_mount(self) -> None:
        self.query_one(Choices).highlighted = 0

    @on(Input.Submitted)
    def _named(self) -> None:
        if not self._against():
            self.query_one(Choices).focus()

    @on(OptionList.OptionSelected)
    def _done(self, event: OptionList.OptionSelected) -> None:
        if not self._against():
            self.dismiss((self.query_one(Field).value.strip(), event.option_id == ON))

    def _against(self) -> str:
        """Say what stands against the name."""
        from core.azure.endpoints import name_problem

        against = name_problem(self.query_one(Field).value.strip())
        self.query_one("#wrong", Static).update(against)
        return against
