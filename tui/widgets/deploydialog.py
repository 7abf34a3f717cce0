"""The dialogs of deploying: how a run is deployed, and the key that is shown once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from tui.deploying import Order
from tui.format import ascii_only, one_line, visible
from tui.widgets.dialogs import Dialog, Scroll
from tui.widgets.field import Field, PathSuggester

if TYPE_CHECKING:
    from tui.deploying import Made, Offer

SAFETY = (
    ("off", "nothing is blocked"),
    ("block list", "a file of patterns, one a line"),
    ("azure", "Azure AI Content Safety; its key in the environment"),
    ("guard", "a model of another deployment is asked"),
)
CHECK = "compare refusals with the base's first; takes minutes"


class Tick(Static, can_focus=True):
    """A box with words; space ticks it."""

    BINDINGS = [Binding("space", "tick", show=False)]
    DEFAULT_CSS = "Tick { height: 1; } Tick:focus { background: $primary 30%; text-style: bold; }"

    class Changed(Message):
        """It was ticked, or its tick taken away."""

    def __init__(self, words: str, ticked: bool = False, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._words = words
        self.ticked = ticked

    def render(self) -> Text:
        return Text(f"[{'x' if self.ticked else ' '}] {self._words}", no_wrap=True, overflow="ellipsis")

    def action_tick(self) -> None:
        self.ticked = not self.ticked
        self.refresh()
        self.post_message(self.Changed())

    def on_click(self) -> None:
        self.action_tick()


class Wheel(Static, can_focus=True):
    """One of a few; space, left and right turn it.

    Args:
        options: (word, what it means) of each.
    """

    BINDINGS = [
        Binding("space,right,l", "turn(1)", show=False),
        Binding("left,h", "turn(-1)", show=False),
    ]
    DEFAULT_CSS = "Wheel { height: 1; } Wheel:focus { background: $primary 30%; text-style: bold; }"

    class Changed(Message):
        """Another one is chosen."""

    def __init__(self, options: tuple[tuple[str, str], ...], id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._options = options
        self._at = 0

    @property
    def chosen(self) -> str:
        """The word of the moment."""
        return self._options[self._at][0]

    def render(self) -> Text:
        word, means = self._options[self._at]
        left, right = "<>" if ascii_only() else "‹›"
        text = Text(f"{left} {word} {right}", no_wrap=True, overflow="ellipsis")
        return text.append(f"  {means}", "dim")

    def action_turn(self, by: int) -> None:
        self._at = (self._at + by) % len(self._options)
        self.refresh()
        self.post_message(self.Changed())

    def on_click(self) -> None:
        self.action_turn(1)


class DeployDialog(Dialog["Order | None"]):
    """How a run is deployed; None when the user thinks better of it.

    Args:
        title: the run's name.
        run: its id.
        offer: what to start with.
    """

    KEYS = "enter deploy   tab next   space change   esc cancel"
    AUTO_FOCUS = "#deploy-name"
    BINDINGS = [
        Binding("enter", "accept", show=False),
        Binding("tab,down", "app.focus_next", show=False),
        Binding("shift+tab,up", "app.focus_previous", show=False),
    ]
    DEFAULT_CSS = """
    DeployDialog .line { height: 1; }
    DeployDialog .line > .label { width: 11; color: $foreground-muted; }
    DeployDialog .line > Field, DeployDialog .line > Wheel { width: 1fr; margin: 0; }
    DeployDialog #line-patterns, DeployDialog #line-guard { display: none; }
    DeployDialog .-patterns #line-patterns, DeployDialog .-guard #line-guard { display: block; }
    DeployDialog Static { height: auto; }
    DeployDialog Tick, DeployDialog Wheel, DeployDialog .label { height: 1; }
    DeployDialog #deploy-command { color: $foreground-muted; margin: 1 0 0 0; }
    DeployDialog #wrong { margin: 0 0 1 0; }
    """

    def __init__(self, title: str, run: str, offer: Offer) -> None:
        super().__init__()
        self._title = title
        self._run = run
        self._offer = offer

    @property
    def heading(self) -> str:
        return f"Deploy {one_line(self._title)}"

    def compose_content(self) -> ComposeResult:
        yield from self._line("name", Field(self._offer.name, id="deploy-name", select_on_focus=True))
        yield from self._line(
            "port", Field(placeholder="empty: the first free one from 8100 on", id="deploy-port")
        )
        yield from self._line("safety", Wheel(SAFETY, id="deploy-safety"))
        yield from self._line(
            "patterns", Field(placeholder="a text file", id="deploy-patterns", suggester=PathSuggester())
        )
        guard = self._offer.guards[0] if self._offer.guards else ""
        yield from self._line(
            "guard", Field(guard, placeholder="DEPLOYMENT/MODEL; there is none yet", id="deploy-guard")
        )
        yield Tick("serve the base model beside it", id="deploy-base")
        yield Tick(CHECK, True, id="deploy-check")
        yield Tick("keep prompts and replies in the request log", id="deploy-texts")
        yield Static("", id="deploy-command", markup=False)
        yield Static("", id="wrong", classes="error", markup=False)

    def _line(self, label: str, widget: Field | Wheel) -> ComposeResult:
        with Horizontal(classes="line", id=f"line-{label}"):
            yield Static(label, classes="label", markup=False)
            yield widget

    def on_mount(self) -> None:
        self._changed()

    @on(Input.Changed)
    @on(Tick.Changed)
    @on(Wheel.Changed)
    def _changed(self) -> None:
        """Show what belongs to the choices, and the command that does the same."""
        safety = self.query_one(Wheel).chosen
        window = self.query_one("#dialog")
        window.set_class(safety == "block list", "-patterns")
        window.set_class(safety == "guard", "-guard")
        self.query_one("#wrong", Static).update("")
        try:
            words = self._read().command()
        except ValueError:
            words = ""
        self.query_one("#deploy-command", Static).update(Content(visible(words)))

    def on_input_submitted(self) -> None:
        self.action_accept()

    def action_accept(self) -> None:
        try:
            self.dismiss(self._read())
        except ValueError as error:
            self.query_one("#wrong", Static).update(Content(visible(str(error))))

    def _text(self, name: str) -> str:
        return self.query_one(f"#deploy-{name}", Field).value.strip()

    def _ticked(self, name: str) -> bool:
        return self.query_one(f"#deploy-{name}", Tick).ticked

    def _read(self) -> Order:
        """The order.

        Raises:
            ValueError: one of the texts won't do; says which.
        """
        return Order(
            run=self._run,
            name=self._new_name(),
            with_base=self._ticked("base"),
            port=self._port(),
            safety=self._safety(),
            keep_texts=self._ticked("texts"),
            check=self._ticked("check"),
        )

    def _new_name(self) -> str:
        from core.serving.settings import NAME

        name = self._text("name")
        if not NAME.fullmatch(name):
            raise ValueError("A name has up to 40 lower case letters, digits, '.', '_' or '-'.")
        if name in self._offer.taken:
            raise ValueError(f"There is a deployment {name!r} already: choose another name.")
        return name

    def _port(self) -> int | None:
        text = self._text("port")
        if text and not (text.isascii() and text.isdecimal() and int(text) <= 65535):
            raise ValueError(f"{text!r} is no port: a number up to 65535.")
        return int(text) if text else None

    def _safety(self) -> str:
        match self.query_one(Wheel).chosen:
            case "block list":
                if not self._text("patterns"):
                    raise ValueError("Name the file with the patterns.")
                path = Path(self._text("patterns")).expanduser().absolute()
                if not path.is_file():
                    raise ValueError(f"There is no file {path}.")
                return str(path)
            case "guard":
                if self._text("guard") not in self._offer.guards:
                    there = ", ".join(self._offer.guards)
                    raise ValueError(
                        f"A guard is one of: {there}." if there else "Deploy a guard model first."
                    )
                return f"guard:{self._text('guard')}"
            case word:
                return word


class KeyDialog(Dialog[None]):
    """A key, shown once. Neither enter nor q closes it: it may come while somebody types.

    Args:
        made: the deployment and its key.
    """

    KEYS = "y copy the key   a copy the address   esc close"
    BINDINGS = [Binding("y", "copy_key", show=False), Binding("a", "copy_address", show=False)]
    DEFAULT_CSS = "KeyDialog Static { height: auto; } KeyDialog .key { text-style: bold; }"

    def __init__(self, made: Made) -> None:
        super().__init__()
        self.made = made

    @property
    def heading(self) -> str:
        return f"The key of {self.made.name}"

    def compose_content(self) -> ComposeResult:
        with Scroll():
            yield Static(visible(self.made.url), markup=False)
            yield Static(visible(self.made.key), markup=False, classes="key next")
            yield Static(
                "This is the only time it is shown: finetui keeps its hash alone, and needs no key itself. "
                "K makes another.",
                markup=False,
                classes="next",
            )
            for note in self.made.notes:
                yield Static(visible(note), markup=False, classes="next")
            yield Static("")

    def action_copy_key(self) -> None:
        self._copy(self.made.key)

    def action_copy_address(self) -> None:
        self._copy(self.made.url)

    def _copy(self, text: str) -> None:
        self.app.copy_to_clipboard(text)
        self.app.notify("copied (OSC 52; in tmux needs `set -g set-clipboard on`)", markup=False)
