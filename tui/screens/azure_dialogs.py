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
        region: where it will run.
        cost: what it costs, in words.
    """

    KEYS = "enter next, then deploy   tab next   esc cancel"
    BINDINGS = [Binding("tab", "app.focus_next", show=False)]
    AUTO_FOCUS = "Field"
    DEFAULT_CSS = """
    DeployDialog Static { height: auto; margin: 0 0 1 0; }
    DeployDialog Choices, DeployDialog Choices:focus { border: none; height: 2; margin: 0 0 1 0; }
    """

    def __init__(self, model: str, name: str, region: str, cost: str) -> None:
        super().__init__()
        self._model = model
        self._proposed = name
        self._region = region
        self._cost = cost

    @property
    def heading(self) -> str:
        return f"Deploy {one_line(self._model)}"

    def compose_content(self) -> ComposeResult:
        from core.azure.endpoints import SAFETY_OFF, SAFETY_ON

        yield Static("Name of the endpoint, unique in its region:", markup=False, classes="label")
        yield Field(self._proposed, id="endpoint-name", select_on_focus=True)
        yield Choices(Option("Content safety on", id=ON), Option("Content safety off", id=OFF), markup=False)
        yield Static(SAFETY_ON, markup=False)
        yield Static(SAFETY_OFF, markup=False)
        cost = f"In {self._region}. Costs: {self._cost}, until it is deleted."
        yield Static(visible(cost), markup=False)
        yield Static("", id="wrong", classes="error", markup=False)

    def on_mount(self) -> None:
        self.query_one(Choices).highlighted = 0

    def on_field_passed(self) -> None:
        self.focus_next()

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
