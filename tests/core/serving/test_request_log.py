"""The request log and what it adds up to."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest

from core.serving import request_log, watch
from core.serving.request_log import NAME, Entry, LogWriter, entries
from core.serving.rows import row_of
from core.serving.settings import DeploymentError
from tests.core.serving.gateways import make_settings

ENTRY = Entry(at=0.0, model="lamp", kind="chat", status=200, duration_ms=10.0)


def write(directory: Path, found: list[Entry], retention_days: int = 30) -> None:
    with LogWriter(directory / NAME, retention_days) as log:
        for entry in found:
            log.add(entry)


def test_what_was_written_is_read_in_order(tmp_path: Path) -> None:
    now = time.time()
    written = [
        replace(
            ENTRY, at=now, status=200 + number, flags="long,script", first_token_ms=1.5, prompt="p\x1b[2J"
        )
        for number in range(5)
    ]
    write(tmp_path, written)
    found = entries(tmp_path)
    assert [replace(entry, id=0) for entry in found] == [replace(entry, streamed=0) for entry in written]
    assert [entry.id for entry in found] == [1, 2, 3, 4, 5]
    assert [entry.status for entry in entries(tmp_path, limit=2)] == [200, 201]
    assert [entry.status for entry in entries(tmp_path, limit=2, newest=True)] == [203, 204]
    assert [entry.status for entry in entries(tmp_path, after=3)] == [203, 204]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_a_deployment_without_a_log_has_no_requests(tmp_path: Path) -> None:
    settings, _, _ = make_settings()
    assert entries(tmp_path) == []
    assert watch.summary(tmp_path, settings) == watch.Summary()


def test_a_damaged_log_is_told_with_its_place(tmp_path: Path) -> None:
    settings, _, _ = make_settings()
    (tmp_path / NAME).write_bytes(b"no database at all" * 100)
    for read in (lambda: entries(tmp_path), lambda: watch.summary(tmp_path, settings)):
        with pytest.raises(DeploymentError) as refused:
            read()
        assert str(tmp_path / NAME) in refused.value.cause


def test_old_entries_go_with_the_retention_and_leave_no_text_behind(tmp_path: Path) -> None:
    now = time.time()
    old = replace(ENTRY, at=now - 8 * request_log.DAY_S, prompt="a text that must go")
    write(tmp_path, [old, replace(ENTRY, at=now, prompt="a text that stays")])
    assert len(entries(tmp_path)) == 2
    write(tmp_path, [], retention_days=7)
    assert [entry.prompt for entry in entries(tmp_path)] == ["a text that stays"]
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"must go" not in kept and b"that stays" in kept


def test_the_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    with LogWriter(tmp_path / NAME, 30) as log:
        for number in range(200):
            log.add(replace(ENTRY, at=time.time(), status=number))
            if number % 50 == 0:
                entries(tmp_path)
    assert [entry.status for entry in entries(tmp_path)] == list(range(200))


def test_a_disk_that_can_t_be_written_costs_entries_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(request_log, "BUSY_S", 0.1)
    with LogWriter(tmp_path / NAME, 30) as log:
        blocker = sqlite3.connect(tmp_path / NAME, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        log.add(ENTRY)
        while "lost" not in capsys.readouterr().err:
            time.sleep(0.05)
        blocker.execute("ROLLBACK")
        blocker.close()
        log.add(replace(ENTRY, at=time.time(), status=201))
    assert [entry.status for entry in entries(tmp_path)] == [201]


def test_a_summary_is_what_the_entries_say(tmp_path: Path) -> None:
    settings, _, _ = make_settings(price_in_usd=2.0, price_out_usd=10.0)
    now = time.time()
    answered = [
        replace(
            ENTRY,
            at=now - 10 + number / 100,
            model="lamp" if number % 4 else "other",
            prompt_tokens=100,
            completion_tokens=20,
            first_token_ms=float((number * 37) % 100),
            per_token_ms=float(number % 10),
            flags="long,vocabulary" if number == 3 else "script" if number == 5 else "",
        )
        for number in range(100)
    ]
    others = [
        replace(ENTRY, at=now, status=500, error="unexpected"),
        replace(ENTRY, at=now, status=429, error="queue_full"),
        replace(ENTRY, at=now, status=499, error="client_left", completion_tokens=5),
        replace(
            ENTRY, at=now, status=400, error="content_filter", blocked="prompt", category="block list, line 2"
        ),
        replace(
            ENTRY, at=now, status=200, blocked="completion", category="azure, Hate 4", completion_tokens=5
        ),
        replace(ENTRY, at=now - 9999, prompt_tokens=7),
    ]
    write(tmp_path, answered + others)
    found = watch.summary(tmp_path, settings, since=now - 100)
    assert (found.requests, found.errors, found.blocked, found.left) == (105, 2, 2, 1)
    values = sorted(entry.first_token_ms or 0.0 for entry in answered)
    assert found.first_token_ms == watch.Spread(values[49], values[94])
    assert found.first_token_ms.p50 == pytest.approx(statistics.median(values), abs=1)
    assert found.per_token_ms == watch.Spread(4.0, 9.0)
    assert (found.prompt_tokens, found.completion_tokens) == (10_000, 2010)
    assert found.cost_usd == pytest.approx(10_000 * 2e-6 + 2010 * 10e-6)
    assert (found.flagged, found.flags) == (2, {"long": 1, "vocabulary": 1, "script": 1})
    assert found.categories == {"prompt: block list, line 2": 1, "completion: azure, Hate 4": 1}
    assert found.since == pytest.approx(now - 10)
    models = watch.summaries(tmp_path, settings, since=now - 100)[1]
    assert models["other"].requests == 25
    mine = sorted(entry.first_token_ms or 0.0 for entry in answered if entry.model == "other")
    assert models["other"].first_token_ms == watch.Spread(mine[12], mine[23])
    assert models["other"].cost_usd == pytest.approx(25 * (100 * 2e-6 + 20 * 10e-6))
    assert watch.summary(tmp_path, settings).requests == 106


def test_requests_that_are_only_counted_are_in_the_sums(tmp_path: Path) -> None:
    settings, _, _ = make_settings()
    now = time.time()
    with LogWriter(tmp_path / NAME, 30) as log:
        log.add(replace(ENTRY, at=now))
        log.add(replace(ENTRY, at=now, model="", kind="", status=429, error="rate_limit_exceeded"))
        for _ in range(2000):
            log.count(now, 429, "rate_limit_exceeded")
        for _ in range(3):
            log.count(now - 7, 401, "invalid_api_key")
        log.count(now - 100, 401, "invalid_api_key")
        while not (found := watch.summary(tmp_path, settings, since=now - 50)).turned_away.get(
            "invalid_api_key"
        ):
            time.sleep(0.05)  # they are written while the gateway runs, not at its end
    found = watch.summary(tmp_path, settings, since=now - 50)
    assert (found.requests, found.errors) == (2005, 2004)
    assert found.turned_away == {"rate_limit_exceeded": 2001, "invalid_api_key": 3}
    assert found.since == int(now - 7)
    assert len(entries(tmp_path)) == 2
    assert watch.summary(tmp_path, settings).turned_away["invalid_api_key"] == 4
    write(tmp_path, [], retention_days=0)
    assert watch.summary(tmp_path, settings) == watch.Summary()


def test_the_log_of_an_older_gateway_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    settings, _, _ = make_settings()
    names = request_log.COLUMNS[:-1]
    assert request_log.COLUMNS[-1] == "messages"
    with contextlib.closing(sqlite3.connect(tmp_path / NAME)) as before:
        before.executescript(f"BEGIN; {request_log.MIGRATIONS[0]}; PRAGMA user_version = 1; COMMIT")
        values = [getattr(replace(ENTRY, at=time.time()), name) for name in names]
        before.execute(
            f"INSERT INTO requests ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values
        )
        before.commit()
    assert watch.summary(tmp_path, settings).requests == 1
    assert [entry.status for entry in entries(tmp_path)] == [200] and not request_log.kept_chats(tmp_path)
    write(tmp_path, [replace(ENTRY, at=time.time(), messages="[]", completion="x")])
    assert watch.summary(tmp_path, settings).requests == 2
    assert [entry.messages for entry in entries(tmp_path)] == [None, "[]"]


def test_kept_chats_are_those_that_make_a_row(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "be short"}, {"role": "user", "content": "how heavy?"}]
    kept = replace(
        ENTRY, at=time.time(), prompt="how heavy?", completion="310 grams", messages=json.dumps(said)
    )
    write(
        tmp_path,
        [
            replace(kept, completion="too light"),
            replace(kept, messages=None),
            replace(kept, completion=""),
            replace(kept, status=499),
            replace(kept, blocked="completion"),
            replace(kept, completion="x" * request_log.MOST_TEXT),  # cut off
            kept,
        ],
    )
    found = request_log.kept_chats(tmp_path)
    assert [entry.completion for entry in found] == ["too light", "310 grams"]
    assert [entry.id for entry in request_log.kept_chats(tmp_path, limit=1)] == [7]
    assert [entry.id for entry in request_log.kept_chats(tmp_path, ids=[1, 3])] == [1]
    assert row_of(found[1]) == {"messages": [*said, {"role": "assistant", "content": "310 grams"}]}
    assert row_of(found[0], "a pound")["messages"][-1]["content"] == "a pound"


def test_the_sums_need_no_row_of_the_table(tmp_path: Path) -> None:
    """Their columns are in two indexes, so that kept texts are not read to count requests."""
    settings, _, _ = make_settings()
    write(tmp_path, [replace(ENTRY, at=time.time(), prompt="x" * 5000)])
    asked: list[str] = []
    with request_log.reading(tmp_path) as database:
        assert database is not None
        database.set_trace_callback(asked.append)
        watch._read(database, "lamp", 0.0)
        database.set_trace_callback(None)
        assert len(asked) == 4
        for statement in asked:
            steps = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert any("COVERING INDEX" in step for step in steps), (statement, steps)


def test_without_prices_there_is_no_cost(tmp_path: Path) -> None:
    settings, _, _ = make_settings()
    write(tmp_path, [replace(ENTRY, at=time.time(), prompt_tokens=5)])
    assert watch.summary(tmp_path, settings).cost_usd is None
