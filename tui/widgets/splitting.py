"""The dialog that parts a file into training and validation rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.widgets import Input, Static

from tui.widgets.dialogs import Dialog
from tui.widgets.field import Field, PathSuggester

FIELDS = (
    ("size", "rows for validation: a share (0.1) or a number (200)"),
    ("group", "rows with the same value of this field stay together, e.g. meta.user; empty for none"),
    ("stratify", "the same shares of this field's values on both sides, e.g. label; empty for none"),
    ("near", "rows that are nearly the same stay together: yes or no"),
    ("seed", "seed: the same one gives the same split"),
    ("train", "file for the rows to train on"),
    ("validation", "file for the rows to measure on"),
)


class Splitting(Dialog[dict[str, Any] | None]):
    """What core.data.prepare.split_file is to do; None when the user thinks better of it.

    Args:
        path: the file; it stays as it is.
    """

    TITLE = "Split into training and validation rows"
    KEYS = "enter split   tab next   esc cancel"
    BINDINGS = [
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]
    DEFAULT_CSS = "Splitting Static { height: auto; } Splitting Field { margin: 0; }"

    def __init__(self, path: Path) -> None:
        super().__init__()
        stem = path.name.split(".")[0] or path.name
        self._values = {
            "size": "0.1",
            "near": "no",
            "seed": "42",
            "train": f"{stem}.train.jsonl",
            "validation": f"{stem}.validation.jsonl",
        }

    def compose_content(self) -> ComposeResult:
        for name, words in FIELDS:
            yield Static(words, markup=False)
            suggester = PathSuggester() if name in ("train", "validation") else None
            yield Field(self._values.get(name, ""), id=f"split-{name}", suggester=suggester)
        yield Static("", id="wrong", classes="error", markup=False)

    def on_input_submitted(self, _: Input.Submitted) -> None:
        try:
            self.dismiss(self._read())
        except ValueError as error:
            self.query_one("#wrong", Static).update(str(error))

    def _text(self, name: str) -> str:
        return self.query_one(f"#split-{name}", Field).value.strip()

    def _read(self) -> dict[str, Any]:
        """The arguments.

        Raises:
            ValueError: one of the texts won't do; says which.
        """
        how: dict[str, Any] = {name: self._text(name) or None for name in ("group", "stratify")}
        size = self._text("size")
        try:
            if "." in size:
                how["fraction"] = float(size)
            else:
                how["rows"] = int(size)
            how["seed"] = int(self._text("seed"))
        except ValueError:
            raise ValueError(f"{size!r} or {self._text('seed')!r} is no number.") from None
        if self._text("near") not in ("yes", "no"):
            raise ValueError("Write yes or no for rows that are nearly the same.")
        how["near"] = self._text("near") == "yes"
        for name in ("train", "validation"):
            if not self._text(name):
                raise ValueError("Both files need a name.")
            how[name] = str(Path(self._text(name)).expanduser().absolute())
        return how
