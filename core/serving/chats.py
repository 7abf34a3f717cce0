"""The chats that are kept: one SQLite file, written as the words come, so that nothing is lost when the app is killed.

`data/chats/chats.db`, for this user alone (0600). Unlike the store of runs it is the truth itself: a damaged one is
told, never made anew. Cheap to import, synchronous, safe to call from threads.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from core import paths
from core.errors import FinetuiError
from core.runs.store import BUSY_TIMEOUT_MS, NETWORK_FILE_SYSTEMS, file_system
from core.serving.talk import Reply, Talk, Turn

TRASH_S = 30 * 24 * 3600.0
TITLE_CHARACTERS = 60
MOST_JUDGEMENTS = 10
"""Kept of a pair of sides."""

MIGRATIONS = (
    """
    CREATE TABLE chats (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, created REAL NOT NULL, changed REAL NOT NULL,
        a TEXT NOT NULL, b TEXT NOT NULL, settings TEXT NOT NULL, trashed REAL NOT NULL DEFAULT 0
    );
    CREATE TABLE turns (
        chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE, number INTEGER NOT NULL, parent INTEGER NOT NULL,
        text TEXT NOT NULL, left_side TEXT NOT NULL, vote TEXT NOT NULL, PRIMARY KEY (chat, number)
    );
    CREATE TABLE replies (
        chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE, turn INTEGER NOT NULL, side TEXT NOT NULL,
        reply TEXT NOT NULL, PRIMARY KEY (chat, turn, side)
    );
    CREATE TABLE chosen (
        chat TEXT NOT NULL REFERENCES chats ON DELETE CASCADE, parent INTEGER NOT NULL, turn INTEGER NOT NULL,
        PRIMARY KEY (chat, parent)
    );
    CREATE TABLE judgements (
        id INTEGER PRIMARY KEY, a TEXT NOT NULL, b TEXT NOT NULL, content TEXT NOT NULL
    );
    """,
)
"""Each entry brings the schema one version further; `PRAGMA user_version` counts those done."""


class ChatError(FinetuiError):
    """The kept chats can't be read or written, or there is no such chat."""


@dataclass(frozen=True)
class Row:
    """A chat as a list shows it. Times are UTC seconds, 0 for never.

    Args:
        a: how side A is written, see core.serving.targets.
        b: side B, empty where there was none.
        settings: of the replies, by name.
        turns: how many there are, on all branches.
    """

    id: str
    title: str
    created: float
    changed: float
    a: str
    b: str
    settings: dict[str, Any]
    trashed: float
    turns: int


@dataclass(frozen=True)
class Tally:
    """Votes between two sides."""

    a: int = 0
    b: int = 0
    ties: int = 0


def new_id() -> str:
    """An id for a chat that is to be kept."""
    return f"{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(4)}"


def title_of(text: str) -> str:
    """A chat's title, from its first message."""
    words = " ".join(text.split())
    return words if len(words) <= TITLE_CHARACTERS else words[: TITLE_CHARACTERS - 1] + "…"


class Chats:
    """The store. Every call opens and closes the file.

    Args:
        path: of the file; made when it is missing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or paths.data_dir() / "chats" / "chats.db"

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The database within a transaction.

        Raises:
            ChatError: it can't be read or written.
        """
        try:
            paths.make_private(self.path.parent)
            self.path.touch(mode=0o600)
            database = sqlite3.connect(self.path, isolation_level=None)
            with contextlib.closing(database):
                database.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                mode = "DELETE" if file_system(self.path) in NETWORK_FILE_SYSTEMS else "WAL"
                if database.execute("PRAGMA journal_mode").fetchone()[0].upper() != mode:
                    database.execute(f"PRAGMA journal_mode = {mode}")
                database.execute("PRAGMA synchronous = NORMAL")
                database.execute("PRAGMA foreign_keys = ON")
                with _transaction(database):
                    self._migrate(database)
                    yield database
        except (sqlite3.Error, OSError) as error:
            raise ChatError(
                f"The kept chats in {self.path} can't be used.",
                str(error),
                "Free space or close what locks it; if it is damaged, move it away: chats then start anew.",
            ) from error

    def _migrate(self, database: sqlite3.Connection) -> None:
        done = database.execute("PRAGMA user_version").fetchone()[0]
        if done > len(MIGRATIONS):
            raise ChatError(
                f"{self.path} was written by a newer finetui.",
                f"Its schema is version {done}, this one knows {len(MIGRATIONS)}.",
                "Update finetui.",
            )
        if done < len(MIGRATIONS):
            for script in MIGRATIONS[done:]:
                for statement in script.split(";"):
                    database.execute(statement)
            database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    # -- reading

    def all(self, trash: bool = False) -> list[Row]:
        """The chats, the one changed last first; those in the trash instead with `trash`."""
        with self._open() as database:
            found = database.execute(
                "SELECT id, title, created, changed, a, b, settings, trashed,"
                " (SELECT COUNT(*) FROM turns WHERE chat = id) FROM chats"
                f" WHERE trashed {'>' if trash else '='} 0 ORDER BY changed DESC, id"
            ).fetchall()
        return [_row(item) for item in found]

    def find(self, part: str, trash: bool = False) -> Row:
        """The one chat with this in its id; of those in the trash with `trash`.

        Raises:
            ChatError: there is none, or there are several.
        """
        rows = self.all(trash)
        found = [row for row in rows if row.id == part] or [row for row in rows if part and part in row.id]
        if len(found) == 1:
            return found[0]
        where = " in the trash" if trash else ""
        deleted = [] if found or trash else [row for row in self.all(trash=True) if part and part in row.id]
        if len(deleted) == 1:
            raise ChatError(
                f"The chat {deleted[0].id} is in the trash.",
                "It was deleted in the last 30 days.",
                f"`finetui chats restore {deleted[0].id}` brings it back.",
            )
        raise ChatError(
            f"{len(found) or 'No'} chats{where} have {part!r} in their ids.",
            ", ".join(row.id for row in found[:4]) + (" and others" if len(found) > 4 else ""),
            f"`finetui chats{' --trash' if trash else ''}` lists them.",
        )

    def read(self, chat: str) -> tuple[Row, Talk]:
        """A chat and its turns. What was being written when the app went is there as far as it came, as stopped.

        Raises:
            ChatError: there is no such chat.
        """
        row = next((item for item in self.all() if item.id == chat), None)
        if row is None:
            raise ChatError(f"There is no chat {chat!r}.", "It may be in the trash.", "Choose another one.")
        talk = Talk(chat)
        with self._open() as database:
            for number, parent, text, left, vote in database.execute(
                "SELECT number, parent, text, left_side, vote FROM turns WHERE chat = ? ORDER BY number",
                (chat,),
            ):
                talk.turns[number] = Turn(number, parent, text, left, vote)
            for turn, side, reply in database.execute(
                "SELECT turn, side, reply FROM replies WHERE chat = ?", (chat,)
            ):
                talk.turns[turn].replies[side] = Reply.of(orjson.loads(reply))
            talk.chosen = dict(database.execute("SELECT parent, turn FROM chosen WHERE chat = ?", (chat,)))
        talk.give_up()
        return row, talk

    def tally(self, a: str, b: str) -> Tally:
        """The votes between two sides, whichever of them was A, in all chats but those in the trash."""
        counted = {"A": 0, "B": 0, "tie": 0}
        with self._open() as database:
            for first, vote, votes in database.execute(
                "SELECT a, vote, COUNT(*) FROM turns JOIN chats ON id = chat WHERE vote != '' AND trashed = 0"
                " AND ((a = ? AND b = ?) OR (a = ? AND b = ?)) GROUP BY a, vote",
                (a, b, b, a),
            ):
                turned = {"A": "B", "B": "A", "tie": "tie"}
                counted[vote if first == a else turned[vote]] += votes
        return Tally(counted["A"], counted["B"], counted["tie"])

    def endpoints(self) -> list[str]:
        """Endpoints that were talked to, as they are written, the one of the newest chat first."""
        with self._open() as database:
            found = database.execute(
                "SELECT side FROM (SELECT a AS side, changed FROM chats UNION ALL SELECT b, changed FROM chats)"
                " WHERE side LIKE '%:%' GROUP BY side ORDER BY MAX(changed) DESC"
            ).fetchall()
        return [side for (side,) in found]

    # -- writing

    def begin(self, chat: str, title: str, a: str, b: str, settings: dict[str, Any]) -> None:
        """Keep a new chat."""
        with self._open() as database:
            now = time.time()
            database.execute(
                "INSERT INTO chats (id, title, created, changed, a, b, settings) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (chat, title, now, now, a, b, orjson.dumps(settings).decode()),
            )

    def put_settings(self, chat: str, settings: dict[str, Any]) -> None:
        """Keep how a chat's next replies are made."""
        with self._open() as database:
            database.execute(
                "UPDATE chats SET settings = ? WHERE id = ?", (orjson.dumps(settings).decode(), chat)
            )

    def put_turn(self, chat: str, turn: Turn, shown: bool = True) -> None:
        """Keep a turn, and if so that it is the one that is shown in its place; replies are kept one by one.

        A chat in the trash comes back: whoever goes on with it, e.g. in an app that had it open, wants it kept.
        """
        with self._open() as database:
            database.execute("UPDATE chats SET trashed = 0 WHERE id = ?", (chat,))
            database.execute(
                "INSERT INTO turns VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (chat, number) DO UPDATE SET"
                " left_side = excluded.left_side, vote = excluded.vote",
                (chat, turn.number, turn.parent, turn.text, turn.left, turn.vote),
            )
            if shown:
                _choose(database, chat, turn)

    def choose(self, chat: str, turn: Turn) -> None:
        """Keep which of several turns is shown in a place."""
        with self._open() as database:
            _choose(database, chat, turn)

    def put_reply(self, chat: str, turn: int, side: str, reply: Reply) -> None:
        """Keep a reply as far as it has come; a chat in the trash comes back, as in `put_turn`."""
        with self._open() as database:
            database.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?)",
                (chat, turn, side, orjson.dumps(reply.as_dict()).decode()),
            )
            database.execute("UPDATE chats SET changed = ?, trashed = 0 WHERE id = ?", (time.time(), chat))

    def rename(self, chat: str, title: str) -> None:
        """Give a chat another title."""
        with self._open() as database:
            database.execute("UPDATE chats SET title = ? WHERE id = ?", (title_of(title) or "chat", chat))

    def delete(self, chat: str) -> None:
        """Move a chat to the trash, where it stays for 30 days; older ones there are removed for good."""
        with self._open() as database:
            now = time.time()
            database.execute("UPDATE chats SET trashed = ? WHERE id = ?", (now, chat))
            database.execute("DELETE FROM chats WHERE trashed > 0 AND trashed < ?", (now - TRASH_S,))

    def restore(self, chat: str) -> None:
        """Bring a chat back from the trash."""
        with self._open() as database:
            database.execute("UPDATE chats SET trashed = 0 WHERE id = ?", (chat,))

    # -- judgements between endpoints; those of a run's model lie with the run

    def put_judgement(self, judgement: dict[str, Any]) -> None:
        """Keep a judgement, and the newest few of its pair only."""
        pair = (judgement["A"]["spec"], judgement["B"]["spec"])
        with self._open() as database:
            database.execute(
                "INSERT INTO judgements (a, b, content) VALUES (?, ?, ?)",
                (*pair, orjson.dumps(judgement).decode()),
            )
            database.execute(
                "DELETE FROM judgements WHERE a = ? AND b = ? AND id NOT IN"
                " (SELECT id FROM judgements WHERE a = ? AND b = ? ORDER BY id DESC LIMIT ?)",
                (*pair, *pair, MOST_JUDGEMENTS),
            )

    def judgements(self, a: str, b: str) -> list[dict[str, Any]]:
        """The judgements of two sides, the newest first."""
        with self._open() as database:
            found = database.execute(
                "SELECT content FROM judgements WHERE a = ? AND b = ? ORDER BY id DESC", (a, b)
            ).fetchall()
        return [orjson.loads(content) for (content,) in found]


def _row(item: tuple[Any, ...]) -> Row:
    chat, title, created, changed, a, b, settings, trashed, turns = item
    return Row(chat, title, created, changed, a, b, orjson.loads(settings), trashed, turns)


def _choose(database: sqlite3.Connection, chat: str, turn: Turn) -> None:
    database.execute("INSERT OR REPLACE INTO chosen VALUES (?, ?, ?)", (chat, turn.parent, turn.number))


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
