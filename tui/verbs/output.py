"""What commands print, and how they end."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson
import typer

from core.errors import FinetuiError
from tui.format import visible

EXIT_FAILED = 1
EXIT_USER = 2


def say(text: str) -> None:
    """Narration, to stderr. Text from outside can't act on the terminal."""
    print(visible(text, lines=True), file=sys.stderr, flush=True)  # noqa: T201


def out(text: str) -> None:
    """Data, to stdout."""
    print(visible(text, lines=True), flush=True)  # noqa: T201


def out_json(value: Any) -> None:
    """Data as one JSON document a line."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    print(orjson.dumps(value, default=str, option=options).decode(), flush=True)  # noqa: T201


def columns(usual: int) -> int:
    """How wide a line may be: as the terminal, at least 60; without one nothing is cut.

    Args:
        usual: of a terminal that doesn't say.
    """
    if not sys.stdout.isatty():
        return sys.maxsize
    return max(60, shutil.get_terminal_size((usual, 24)).columns)


def interactive() -> bool:
    """Whether a person sits at a terminal that can show the app."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """A user's mistake ends with its three parts and an exit code, never with a traceback."""
    try:
        yield
    except FinetuiError as error:
        fail(error)
    except KeyboardInterrupt:
        say("interrupted")
        raise typer.Exit(130) from None
    except BrokenPipeError:  # the reader of our output has left: nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def fail(error: FinetuiError) -> NoReturn:
    """Tell an error and end."""
    say(f"finetui: {error.what}")
    if error.cause:
        say(f"  Cause: {error.cause}")
    if error.next_step:
        say(f"  Next:  {error.next_step}")
    raise typer.Exit(error.exit_code)
