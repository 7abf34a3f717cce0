"""`finetui` opens the app; `finetui <verb>` does the same work without it.

Exit codes: 0 done; 1 a run failed or something unexpected happened; 2 a mistake in what was asked (the message
names the next step); 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer


def main() -> None:
    """The console script."""
    try:
        _run()
    except KeyboardInterrupt:  # while modules are imported; a verb at work tells it by itself
        sys.stderr.write("interrupted\n")
        raise SystemExit(130) from None


def _run() -> None:
    from core.paths import settle_home

    settle_home()
    if len(sys.argv) == 1:
        from tui.app import FinetuiApp  # nothing but Textual before the first paint

        FinetuiApp().run()
        return
    build()()


def build() -> typer.Typer:
    """All verbs."""
    import typer

    from tui.verbs import (
        azure,
        chat,
        chats,
        clean,
        compare,
        data,
        demo,
        deploy,
        deployments,
        doctor,
        evaluate,
        export,
        judge,
        models,
        plan,
        runs,
        train,
    )

    app = typer.Typer(
        name="finetui",
        help="Fine-tune small language models from a terminal. Without a verb it opens the app.",
        no_args_is_help=False,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Exit codes: 0 done, 1 a run failed, 2 a mistake in what was asked, 130 interrupted.",
    )
    rooms = (
        train,
        plan,
        runs,
        compare,
        clean,
        chat,
        chats,
        judge,
        evaluate,
        export,
        deploy,
        deployments,
        azure,
        data,
        models,
        doctor,
        demo,
    )
    for room in rooms:
        room.register(app)
    return app
