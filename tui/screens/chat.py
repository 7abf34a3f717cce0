"""The chat: any two models beside each other. They live in a worker process; this only shows the words."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from tui.actions import bindings
from tui.screens.chat_rows import ChatRows

NOBODY = (
    "Nobody to talk to yet.\n\n"
    "Here you talk to a model you trained, its untrained base beside it. A run can be talked to as soon as it has "
    "written its first checkpoint.\n2 sets up a run.   4 lists the runs: c there talks to one.\n"
    "m talks to any other model: a deployment, or an address that speaks OpenAI's API.   a lists kept chats."
)


class ChatScreen(ChatRows):
    """Two columns of replies and a field for the message."""

    MODE = "chat"
    HELP = (
        "Talk to a model you trained, or to any two models: a run's, a checkpoint, a base, a deployment, an address. "
        "Both get the same messages and the same seed; each side goes on from its own replies. Chats are kept as they "
        "go on. Asking again or changing a message begins a branch, and [ and ] move among branches."
    )
    HOME = "#left"
    CSS_PATH = "chat.tcss"
    BINDINGS = bindings("chat")

    def compose_body(self) -> Iterable[Widget]:
        yield Static(NOBODY, id="nobody", markup=False)
        with Vertical(id="talk"):
            yield self.sign_in
            with Horizontal(id="sides"):
                yield from self.panes.values()
            yield self.problem
            yield self.state_line
            with self.message_box:
                yield self.message
            yield self.settings_line

    def on_mount(self) -> None:
        super().on_mount()
        self.message_box.border_title = Content("Message")
        self.show_settings()

    @on(Input.Submitted, "#message")
    def _submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() and "A" in self.sides:
            event.input.value = ""
            self.send(event.value.strip())
