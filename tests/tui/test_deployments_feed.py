"""What the deployments page reads of a request log: everything once, counted by period, written whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.serving import deployments
from tests.tui.made_deployments import entry, log_requests, make_deployment, served
from tests.tui.made_runs import T0
from tui import deployment_watch
from tui.deployment_text import row, watch_paragraphs
from tui.deployment_watch import PERIODS, Feed, Looker
from tui.screens import deployments as screen_module

NOW = T0 + 60.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute after the newest deployment was made."""
    monkeypatch.setattr(screen_module, "now", lambda: NOW)


def test_a_feed_gives_everything_once(home: Path) -> None:
    directory = make_deployment("support-prod")
    feed = Feed(deployments.find("support-prod"))
    assert not feed.read().requests
    log_requests(directory, [entry(number) for number in range(5)])
    (directory / "gateway.log").write_text("one\ntwo")
    first = feed.read()
    assert [item.id for item in first.requests] == [1, 2, 3, 4, 5]
    assert first.lines == ["one"]
    assert feed.read() == deployment_watch.News([], [])
    with (directory / "gateway.log").open("a") as log:
        log.write(" and a half\nthree\n")
    log_requests(directory, [entry(5)])
    second = feed.read()
    assert [item.id for item in second.requests] == [6]
    assert second.lines == ["two and a half", "three"]


def test_a_feed_begins_anew_with_another_log(home: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(number) for number in range(5)])
    (directory / "gateway.log").write_text("a long line of the log that was\n")
    feed = Feed(deployments.find("support-prod"))
    assert len(feed.read().requests) == 5
    (directory / "requests.db").rename(directory / "aside.db")
    log_requests(directory, [entry(7)])
    (directory / "gateway.log").write_text("new\n")
    news = feed.read()
    assert [item.at for item in news.requests] == [T0 + 7]
    assert news.lines == ["new"]


def test_a_log_that_stays_the_same_is_not_read_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(1)])
    looker, reads = Looker(), []
    whole = deployment_watch.watch.summaries

    def counted(*arguments: Any) -> Any:
        reads.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(deployment_watch.watch, "summaries", counted)
    for _ in range(3):
        assert looker.look(PERIODS[0], NOW)[0].summary.requests == 1
    assert len(reads) == 1
    log_requests(directory, [entry(2)])
    assert looker.look(PERIODS[0], NOW)[0].summary.requests == 2


def test_a_period_counts_its_own_requests(home: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(0), entry(50_000), entry(80_000), entry(86_000)])
    looker = Looker()
    counts = [looker.look(period, T0 + 86_450)[0].summary.requests for period in PERIODS]
    assert [period.words for period in PERIODS] == ["the last day", "the last hour", "all time"]
    assert counts == [3, 1, 4]


def test_a_quick_look_counts_nothing(home: Path) -> None:
    directory = make_deployment("support-prod")
    log_requests(directory, [entry(1)])
    looker = Looker()
    item = looker.look(PERIODS[0], NOW, quick=True)[0]
    assert item.summary is None
    assert row(item, NOW).cells["requests"] == "—"
    assert any(paragraph.text == "being counted" for paragraph in watch_paragraphs(item, PERIODS[0], NOW))
    assert not looker.knows(PERIODS[0])
    looker.look(PERIODS[0], NOW)
    assert looker.knows(PERIODS[0]) and not looker.knows(PERIODS[1])
    again = looker.look(PERIODS[0], NOW, quick=True)[0].summary
    assert again is not None and again.requests == 1


def test_figures_of_each_model_where_there_are_several(home: Path) -> None:
    directory = make_deployment("two", models=(served("a"), served("b", "base")))
    log_requests(directory, [entry(1, model="a"), entry(2, model="b"), entry(3, model="b")])
    item = Looker().look(PERIODS[0], NOW)[0]
    assert {name: summary.requests for name, summary in item.models.items()} == {"a": 1, "b": 2}
