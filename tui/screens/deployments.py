"""The deployments of this machine, a page over the runs: whether they answer, and what they are asked."""

from __future__ import annotations

from collections.abc import Iterable
from time import time as now
from typing import TYPE_CHECKING

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Container, Vertical
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.actions import bindings
from tui.deployment_text import (
    COLUMNS,
    haystack,
    log_paragraphs,
    request_paragraphs,
    row,
    title,
    watch_paragraphs,
)
from tui.deployment_watch import PERIODS, Feed, Looker, News, Watched
from tui.screens.deployments_rows import DeploymentRows
from tui.widgets.field import Field
from tui.widgets.footer import Footer
from tui.widgets.header import Header
from tui.widgets.log import LogView
from tui.widgets.table import Table
from tui.widgets.textpane import TextPane

if TYPE_CHECKING:
    from tui.deploying import Deploys

REFRESH_S = 1.0
WIDE_COLUMNS = 120
KEPT_LINES = 2000

NONE_YET = (
    "No deployments yet.\n\n"
    "A deployment serves the model of a run at an address of this machine that OpenAI's clients can use, behind a key. "
    "It is a process of its own: it goes on when finetui is closed, and starts again when it crashes.\n"
    "n deploys the model of a run.   u brings back a removed deployment.   esc goes back to the runs, where d does so."
)
NO_MATCH = "No deployment contains all of these words.\n\n/ changes them, esc takes them away."
NO_REQUESTS = "None yet: the requests to this deployment are listed here as they come."
NO_LOG = "The gateway has said nothing yet."


class DeploymentsScreen(DeploymentRows):
    """A list of deployments, and the watch page of the chosen one.

    Args:
        deploys: what the app is deploying.
    """

    MODE = "deployments"
    HELP = (
        "Models of runs behind an address of this machine. Each deployment is a process of its own: leave any time, "
        "it goes on. Its page tells how often and how fast it answers, what was blocked, and which prompts look unlike "
        "the data it was trained on; requests and log follow their end only while you are there."
    )
    HOME = "#deployments"
    CSS_PATH = "deployments.tcss"
    BINDINGS = bindings("deployments")

    def __init__(self, deploys: Deploys) -> None:
        super().__init__()
        self.deploys = deploys
        self.busy: dict[str, str] = {}
        self.items: list[Watched] | None = None
        self.period = PERIODS[0]
        self.filter_field = Field(placeholder="words that must occur, e.g. failed support", id="filter")
        self.empty = Static("", id="empty", markup=False)
        self.table = Table(COLUMNS, id="deployments")
        self.watch_pane = TextPane("", follow=False, id="watch")
        self.requests = LogView("Requests", NO_REQUESTS, KEPT_LINES, id="requests")
        self.log_view = LogView("Gateway log", NO_LOG, KEPT_LINES, id="log")
        self._looker = Looker()
        self._feed: Feed | None = None
        self._looking = self._again = False
        self._keys_for: tuple[object, ...] | None = None
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Header("runs")
        yield from self.compose_body()
        yield Footer(self.MODE)

    def compose_body(self) -> Iterable[Widget]:
        yield self.filter_field
        yield self.empty
        yield self.table
        with Container(id="panes"):
            yield self.watch_pane
            with Vertical(id="right"):
                yield self.requests
                yield self.log_view

    def on_mount(self) -> None:
        super().on_mount()
        self.deploys.listeners.append(self._show)
        self.sweep_trash()

    def on_unmount(self) -> None:
        self.deploys.listeners.remove(self._show)

    # -- looking

    def on_screen_resume(self, event: events.ScreenResume) -> None:
        self.look()

    def on_screen_suspend(self, event: events.ScreenSuspend) -> None:
        self._set_timer(False)

    def look(self) -> None:
        """Look again, in a thread; while one looks, another look waits for its turn."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._read(self._feed)

    @work(thread=True, group="look")
    def _read(self, feed: Feed | None) -> None:
        period = self.period
        if not self._looker.knows(period):  # counting a long log takes a while
            self.app.call_from_thread(self._take_items, self._looker.look(period, now(), quick=True))
        items = self._looker.look(period, now())
        news = feed.read() if feed is not None else News()
        self.app.call_from_thread(self._take, items, feed, news)

    def _take(self, items: list[Watched], feed: Feed | None, news: News) -> None:
        self._looking = False
        if not self.is_attached:
            return
        if feed is self._feed:
            self._take_news(news)
        self._take_items(items)
        alive = bool(self.busy or self.deploys.name) or any(item.deployment.running for item in items)
        self._set_timer(self.is_current and alive)
        if self._again:
            self._again = False
            self.look()

    def _take_items(self, items: list[Watched]) -> None:
        self.items = items
        self._show()

    def _take_news(self, news: News) -> None:
        self.requests.append(request_paragraphs(news.requests))
        self.log_view.append(log_paragraphs(news.lines))

    def _set_timer(self, wanted: bool) -> None:
        """Look again every second, but only while something can change and somebody looks."""
        if wanted and self._timer is None:
            self._timer = self.set_interval(REFRESH_S, self.look)
        elif not wanted and self._timer is not None:
            self._timer.stop()
            self._timer = None

    # -- showing

    def chosen(self) -> Watched | None:
        name = self.table.chosen
        return next((item for item in self.items or [] if item.deployment.name == name), None)

    def _filtered(self) -> list[Watched]:
        words = self.filter_field.value.lower().split()
        return [item for item in self.items or [] if all(word in haystack(item) for word in words)]

    def _show(self) -> None:
        """Bring list, titles and panes up to date."""
        if self.items is None or not self.is_attached:
            return
        shown, moment = self._filtered(), now()
        heading = f"Deployments  {len(shown)}"
        heading += f" of {len(self.items)}" if len(shown) != len(self.items) else ""
        heading += f"   requests of {self.period.words}"
        heading += f"   {self.deploys.words}" if self.deploys.name else ""
        self.table.show([row(item, moment, self.doing(item.deployment.name)) for item in shown], heading)
        if not shown:
            self.empty.update(Content(NO_MATCH if self.items else self._none_yet()))
        self.set_class(not shown, "-empty")
        serving = sum(item.deployment.running for item in self.items)
        self.context = f"{serving} running" if serving else ""
        self._show_chosen()

    def _none_yet(self) -> str:
        return f"{NONE_YET}\n\n{self.deploys.words}" if self.deploys.name else NONE_YET

    def _show_chosen(self) -> None:
        item = self.chosen()
        if item is not None:
            here = item.deployment
            if self._feed is None or (self._feed.name, self._feed.created) != (here.name, here.created):
                self._follow(item)
            self.watch_pane.title = title(item, self.doing(here.name))
            self.watch_pane.set_paragraphs(watch_paragraphs(item, self.period, now()))
            self.watch_pane.show_titles()
        about: tuple[object, ...] = (bool(self.items),)
        if item is not None:
            here = item.deployment
            about = (here.name, here.state, self.doing(here.name), item.bytes > 0, self.pane())
        if about != self._keys_for:
            self._keys_for = about
            self.refresh_bindings()

    def _follow(self, item: Watched) -> None:
        """Begin to follow another deployment."""
        self._feed = Feed(item.deployment)
        self.requests.clear()
        self.log_view.clear()
        self.watch_pane.action_move_first()
        self.look()

    @on(Table.Moved)
    def _moved(self) -> None:
        self._show_chosen()

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width >= WIDE_COLUMNS, "-side-by-side")
        self.call_after_refresh(self._show)

    # -- panes and keys

    def pane(self) -> LogView | None:
        return self.focused if isinstance(self.focused, LogView) else None

    @on(events.DescendantFocus)
    def _focus_moved(self) -> None:
        self._show_chosen()

    @on(Table.Chosen)
    def _selected(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        """The watch page; where the screen is short, in place of the list."""
        self.set_class(True, "-reading")
        self._to(self.watch_pane)

    def action_panes(self) -> None:
        """The next pane; where one fits, it takes the place of the others."""
        panes: list[Widget] = [self.watch_pane, self.requests, self.log_view]
        here = panes.index(self.focused) if self.focused and self.focused in panes else -1
        self._to(panes[(here + 1) % len(panes)])

    def _to(self, pane: Widget) -> None:
        self.set_class(pane is self.requests, "-requests")
        self.set_class(pane is self.log_view, "-log")
        self.set_focus(pane)

    def action_period(self) -> None:
        """Count the requests of another time."""
        self.period = PERIODS[(PERIODS.index(self.period) + 1) % len(PERIODS)]
        self.look()

    def action_filter(self) -> None:
        self.set_class(True, "-filtering")
        self.set_focus(self.filter_field)

    @on(Input.Changed, "#filter")
    def _filter_changed(self) -> None:
        self._show()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.go_home()

    def close_overlay(self) -> None:
        """`esc`: back to the list, take the filter away, then back to the runs."""
        if self.focused is not None and self.focused is not self.table:
            for name in ("-reading", "-requests", "-log"):
                self.remove_class(name)
            self.go_home()
        elif self.has_class("-filtering"):
            self.filter_field.value = ""
            self.set_class(False, "-filtering")
        else:
            self.dismiss()
