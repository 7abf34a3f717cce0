"""`finetui chats`: the kept chats; to show one, delete it and bring it back."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tui.format import ago, count, one_line
from tui.verbs.output import errors_told, out, out_json, say

if TYPE_CHECKING:
    from core.serving.chats import Row

Chat = Annotated[
    str, typer.Argument(metavar="CHAT", help="Its id, or a part that no other has.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Trash = Annotated[bool, typer.Option("--trash", help="Those that were deleted in the last 30 days.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    room = typer.Typer(
        invoke_without_command=True, no_args_is_help=False, help="List kept chats, or change one."
    )
    room.callback()(_default)
    for name, verb in (("list", listed), ("show", show), ("delete", delete), ("restore", restore)):
        room.command(name)(verb)
    app.add_typer(room, name="chats")


def _default(context: typer.Context, json: Json = False, trash: Trash = False) -> None:
    """List kept chats, or change one."""
    if context.invoked_subcommand is None:
        listed(json, trash)


def listed(json: Json = False, trash: Trash = False) -> None:
    """List the kept chats, the one changed last first."""
    from core.serving.chats import Chats

    with errors_told():
        rows = Chats().all(trash)
        if json:
            out_json([asdict(row) for row in rows])
            return
        if not rows:
            say("There are none in the trash." if trash else "No chats yet: each one in the app is kept.")
        for row in rows:
            out(f"{row.id}  {_turns(row):<22}  {one_line(row.title)}  ({_sides(row)})")


def _turns(row: Row) -> str:
    """`3 turns, 5 min ago`."""
    when = f"deleted {ago(row.trashed, time.time())}" if row.trashed else ago(row.changed, time.time())
    return f"{count(row.turns)} turn{'' if row.turns == 1 else 's'}, {when}"


def _sides(row: Row) -> str:
    """`lamp-a1b2 | lamp-a1b2@base`."""
    return one_line(" | ".join(side for side in (row.a, row.b) if side))


def show(chat: Chat, json: Json = False) -> None:
    """What was said in a chat: the branch that the app shows; with --json all branches and the replies' figures."""
    from core.serving.chats import Chats
    from tui.conversation import Settings, names_of, transcript

    with errors_told():
        chats = Chats()
        row, talk = chats.read(chats.find(chat).id)
        if json:
            turns: list[dict[str, Any]] = [asdict(turn) for turn in talk.turns.values()]
            shown = [turn.number for turn in talk.path()]
            out_json({**asdict(row), "turns": turns, "shown": shown})
            return
        say(f"{one_line(row.title)}  ({_sides(row)})  {_turns(row)}")
        titles = {side: spec for side, spec in (("A", row.a), ("B", row.b)) if spec}
        out(transcript(talk, names_of(titles), Settings.of(row.settings)).rstrip("\n"))


def delete(chat: Chat, json: Json = False) -> None:
    """Move a chat to the trash, where it stays for 30 days."""
    from core.serving.chats import Chats

    with errors_told():
        chats = Chats()
        row = chats.find(chat)
        chats.delete(row.id)
        say(f"{one_line(row.title)} is in the trash; `finetui chats restore {row.id}` brings it back")
        if json:
            out_json({"id": row.id, "title": row.title})


def restore(chat: Chat, json: Json = False) -> None:
    """Bring a chat back from the trash."""
    from core.serving.chats import Chats

    with errors_told():
        chats = Chats()
        row = chats.find(chat, trash=True)
        chats.restore(row.id)
        say(f"{one_line(row.title)} is back")
        if json:
            out_json({"id": row.id, "title": row.title})
