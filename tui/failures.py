"""What an unexpected error becomes: three parts for the user, and the traceback in a file."""

from __future__ import annotations

import re
import time
import traceback

from core.errors import FinetuiError
from core.paths import logs_dir, make_private


class UnexpectedError(FinetuiError):
    """Something finetui didn't foresee; a mistake of finetui's, not of the user's."""


def explain(error: BaseException) -> FinetuiError:
    """The error itself if it is made for users; else one that says where its traceback was written."""
    if isinstance(error, FinetuiError):
        return error
    lines = traceback.format_exception(error)
    path = make_private(logs_dir()) / "app.log"
    with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
        log.write(time.strftime("%Y-%m-%d %H:%M:%S ") + "".join(lines))
    path.chmod(0o600)
    return UnexpectedError(
        f"Unexpected: {type(error).__name__}: {error}",
        "This is a mistake in finetui. What was going on is not affected; runs go on.",
        f"The traceback is in {path}. Please report it with what you did.",
    )


KEYS = (("--data FILE", "f"), ("--prompts FILE", "p"), (r"--task \w+", "a"))
"""Options of commands, and the keys that do the same on a page."""


def on_page(error: FinetuiError) -> FinetuiError:
    """The error with the page's keys in its next step, where a command's options stand in it."""
    return FinetuiError(error.what, error.cause, with_keys(error.next_step))


def with_keys(next_step: str) -> str:
    """A next step with the page's keys in place of a command's options."""
    for option, key in KEYS:
        next_step = re.sub(f"`{option}`", f"{key} on this page", next_step)
    return next_step
