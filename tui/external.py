"""Other programs of the user's: a pager that shows a text, an editor that changes it, in the terminal of the app."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from core.errors import FinetuiError


class ExternalError(FinetuiError):
    """A program of the user's can't be started."""


def view(app: App[Any], text: str, suffix: str) -> None:
    """Show a text in $PAGER or $EDITOR, the app waiting.

    Raises:
        ExternalError: the program can't be started, or this terminal can't be lent.
    """
    _lend(app, _program(("PAGER", "EDITOR"), ("less", "more", "vi")), f"row{suffix}", text)


def edit(app: App[Any], text: str) -> str:
    """What the user made of a text in $VISUAL or $EDITOR, the app waiting.

    Raises:
        ExternalError: the program can't be started, or this terminal can't be lent.
    """
    return _lend(app, _program(("VISUAL", "EDITOR"), ("nano", "vim", "vi")), "message.txt", text).strip()


def _program(variables: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The command in the first variable that is set, else the first usual program there is."""
    names = " nor ".join(f"${name}" for name in variables)
    for name in variables:
        if words := os.environ.get(name, "").strip():
            try:
                return shlex.split(words)
            except ValueError as error:
                raise ExternalError(
                    f"${name} is {words!r}: it can't be read.", str(error), "Mend it."
                ) from error
    for program in usual:
        if found := shutil.which(program):
            return [found]
    raise ExternalError("There is no program to show it.", f"Neither {names} is set.", "Set one of them.")


def _lend(app: App[Any], command: list[str], name: str, text: str) -> str:
    """Give the terminal to a program with the text in a private file; returns what it left there."""
    with tempfile.TemporaryDirectory(prefix="finetui-") as folder:  # 0700
        path = Path(folder) / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        try:
            with app.suspend():
                subprocess.run([*command, str(path)], check=False)
        except SuspendNotSupported as error:
            raise ExternalError(
                "The terminal can't be lent to another program.",
                str(error),
                "Write it to a file instead (w), or type in the field.",
            ) from error
        except OSError as error:
            raise ExternalError(
                f"{command[0]} can't be started.",
                str(error.strerror),
                "Set $PAGER and $EDITOR to programs that are installed.",
            ) from error
        return path.read_text(encoding="utf-8", errors="replace")
