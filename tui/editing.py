"""`e`: write a text in the user's own editor, the app waiting."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from tui.external import ExternalError


def editor() -> list[str]:
    """The command that edits a file: $VISUAL, $EDITOR, or the first usual one there is.

    Raises:
        ExternalError: there is none.
    """
    for name in ("VISUAL", "EDITOR"):
        if os.environ.get(name, "").strip():
            return shlex.split(os.environ[name])
    for program in ("nano", "vim", "vi"):
        if found := shutil.which(program):
            return [found]
    raise ExternalError("There is no editor.", "Neither $VISUAL nor $EDITOR is set.", "Set one of them.")


def edit(app: App[Any], text: str) -> str:
    """What the user made of the text. The file is private and removed after.

    Raises:
        ExternalError: the editor can't be started, or this terminal can't be lent.
    """
    command = editor()
    with tempfile.TemporaryDirectory(prefix="finetui-") as folder:  # 0700
        path = Path(folder) / "message.txt"
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
        try:
            with app.suspend():
                subprocess.run([*command, str(path)], check=False)
        except SuspendNotSupported as error:
            raise ExternalError(
                "The terminal can't be lent to an editor.", str(error), "Type the message in the field (i)."
            ) from error
        except OSError as error:
            raise ExternalError(
                f"{command[0]} can't be started.",
                str(error.strerror),
                "Set $EDITOR to an editor that is installed.",
            ) from error
        return path.read_text(encoding="utf-8", errors="replace").strip()
