"""Other programs of the user's: the pager or editor that shows a text, in the terminal of the app."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from textual.app import App, SuspendNotSupported

from core.errors import FinetuiError


class ExternalError(FinetuiError):
    """A program of the user's can't be started."""


def viewer() -> list[str]:
    """The command that shows a file: $PAGER, $EDITOR, or the first usual one there is.

    Raises:
        ExternalError: there is none.
    """
    for name in ("PAGER", "EDITOR"):
        if os.environ.get(name, "").strip():
            return shlex.split(os.environ[name])
    for program in ("less", "more", "vi"):
        if found := shutil.which(program):
            return [found]
    raise ExternalError(
        "There is no pager or editor.", "Neither $PAGER nor $EDITOR is set.", "Set one of them."
    )


def view(app: App[None], text: str, suffix: str) -> None:
    """Show a text in the user's pager, the app waiting. The file is private and removed after.

    Raises:
        ExternalError: the program can't be started, or this terminal can't be lent.
    """
    command = viewer()
    with tempfile.TemporaryDirectory(prefix="finetui-") as folder:  # 0700
        path = Path(folder) / f"row{suffix}"
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        try:
            with app.suspend():
                subprocess.run([*command, str(path)], check=False)
        except SuspendNotSupported as error:
            raise ExternalError(
                "The terminal can't be lent to another program.",
                str(error),
                "Press w to write the row to a file.",
            ) from error
        except OSError as error:
            raise ExternalError(
                f"{command[0]} can't be started.",
                str(error.strerror),
                "Set $PAGER or $EDITOR to a program that is installed.",
            ) from error
