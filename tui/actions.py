"""Everything a key can do, in one table.

Dispatch, footer, `?` help, command palette and documentation are made from `ACTIONS`. An action of screen
`runs` with id `runs.stop` is the method `action_stop` of `RunsScreen`. Every action has a
plain key, since terminals and tmux swallow many combinations; ids are stable, a keymap may rebind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Action:
    """One thing a user can do.

    Args:
        id: `screen.verb`, stable.
        keys: Textual key names, comma-separated; the first is the one shown.
        label: one or two words for the footer.
        help: a sentence for help and palette.
        footer: shown in the footer of its screen, as space allows, in the table's order.
        palette: offered in the command palette.
    """

    id: str
    keys: str
    label: str
    help: str
    footer: bool = False
    palette: bool = True

    @property
    def screen(self) -> str:
        return self.id.partition(".")[0]

    @property
    def verb(self) -> str:
        return self.id.partition(".")[2]

    @property
    def key(self) -> str:
        """The first key as people write it."""
        return show_key(self.keys.split(",")[0])


_SHOWN = {
    "question_mark": "?",
    "slash": "/",
    "comma": ",",
    "colon": ":",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "escape": "esc",
    "G": "G",
}


def show_key(name: str) -> str:
    """A Textual key name as people write it: `ctrl+p` is `^P`, `question_mark` is `?`."""
    if name.startswith("ctrl+") and len(name) == 6:
        return "^" + name[-1].upper()
    return _SHOWN.get(name, name)


ACTIONS: tuple[Action, ...] = (
    # the app, everywhere
    Action("app.data", "1", "Data", "Go to Data: open a file, page through its conversations"),
    Action("app.train", "2", "Train", "Go to Train: set up a run and start it"),
    Action("app.monitor", "3", "Monitor", "Go to Monitor: watch a run live"),
    Action("app.runs", "4", "Runs", "Go to Runs: all runs, and what is kept of deleted ones"),
    Action("app.chat", "5", "Chat", "Go to Chat: talk to a trained model beside its base"),
    Action(
        "app.help", "question_mark,f1", "Help", "Show what this screen is for and its keys", palette=False
    ),
    Action("app.commands", "ctrl+p,colon", "Commands", "Find any command by name", palette=False),
    Action("app.theme", "T", "Theme", "Change the colours: dark, light, colour-blind safe"),
    Action("app.quit", "q,ctrl+q", "Quit", "Leave finetui; runs go on"),
    # data
    Action("data.open_file", "o", "Open", "Open a file of conversations", footer=True),
    Action("data.filter", "slash", "Filter", "Show only rows that a filter lets through", footer=True),
    Action("data.open_row", "enter,space", "Read", "Show the row in full; on a narrow screen over the list"),
    Action("data.next_problem", "n", "Next problem", "Go to the next row with a problem", footer=True),
    Action("data.previous_problem", "N", "Previous problem", "Go to the previous row with a problem"),
    Action(
        "data.toggle_tokens", "t", "Tokens", "Show the row as its tokens, trained ones marked", footer=True
    ),
    Action("data.toggle_raw", "v", "JSON", "Show the row as raw JSON", footer=True),
    Action(
        "data.choose_model", "m", "Model", "Choose the model whose tokens and template are shown", footer=True
    ),
    Action(
        "data.sort", "s", "Sort", "Sort the rows by length, longest first; again: as in the file", footer=True
    ),
    Action(
        "data.repair",
        "r",
        "Repair",
        "Repair rows: choose, look at the changes, write a new file",
        footer=True,
    ),
    Action("data.use", "f", "Fine-tune", "Set up a run on this file", footer=True),
    Action("data.split", "p", "Split", "Part the file into training and validation rows"),
    Action("data.go_to", "colon", "Go to", "Go to a row by its number"),
    Action("data.toggle_ids", "i", "Ids", "Show each token's id behind it"),
    Action("data.template", "x", "Template", "Show the rows under another chat template"),
    Action("data.length", "l", "Length", "Set the sequence length whose cut is drawn"),
    Action("data.columns", "c", "Columns", "Say which column of the file is what, e.g. prompt: question"),
    Action("data.overview", "z", "Overview", "Show or hide the figures of all rows"),
    Action("data.edit_row", "e", "View in editor", "Show the row's JSON in $PAGER or $EDITOR"),
    Action("data.copy", "y", "Copy", "Copy the row's JSON to the clipboard"),
    Action("data.write", "w", "Write", "Write the row's JSON to a file"),
    # train
    Action("train.start", "s", "Start", "Check the recipe and start the run", footer=True),
    Action("train.switch_backend", "b", "Backend", "Switch between this machine and Azure", footer=True),
    Action("train.open_recipe", "o", "Open", "Load a recipe from a YAML file", footer=True),
    Action("train.write", "w", "Write", "Write the recipe to a YAML file", footer=True),
    Action("train.copy", "y", "Copy", "Copy the equivalent command to the clipboard", footer=True),
    Action("train.time", "t", "Time", "Measure how long the run will take, by some seconds of it"),
    Action("train.undo", "u", "Undo", "Undo the last change of the form", footer=True),
    Action("train.edit", "enter", "Edit", "Edit the field; esc or enter leaves it"),
    Action("train.checks", "c", "Checks", "Show checks and estimate in full; esc goes back to the form"),
    Action("train.reset", "r", "Reset", "Set the field back to its default"),
    Action("train.more", "m", "More", "Show or hide the rarely changed settings"),
    # monitor
    Action("monitor.stop", "s", "Stop", "Stop the run; its checkpoint and model are kept", footer=True),
    Action("monitor.pause", "p", "Pause", "Write a checkpoint, leave and free the device", footer=True),
    Action("monitor.resume", "r", "Resume", "Go on from the last checkpoint", footer=True),
    Action("monitor.chat", "c", "Chat", "Talk to this run's model", footer=True),
    Action("monitor.detach", "d", "Detach", "Leave the run to itself and go to the list", footer=True),
    Action("monitor.evaluate", "e", "Evaluate", "Measure this run's model beside its base", footer=True),
    Action("monitor.checkpoint", "v", "Checkpoint", "Save a checkpoint at the next step"),
    Action("monitor.sample", "a", "Sample", "Ask the model for sample replies at the next step"),
    Action(
        "monitor.change", "t", "Tune", "Change learning rate, evaluation interval or last step as it goes"
    ),
    Action("monitor.smooth", "z", "Smooth", "Smooth the training loss, or show it as it is"),
    Action("monitor.log_scale", "l", "Log scale", "Draw the loss on a logarithmic scale"),
    Action("monitor.follow", "f", "Follow", "Follow the end of the log"),
    Action("monitor.next_chart", "right_square_bracket", "Next chart", "Show the next chart, or memory"),
    Action("monitor.previous_chart", "left_square_bracket", "Previous chart", "Show the chart before"),
    Action("monitor.panes", "tab", "Next pane", "Go to the next pane: log, samples", palette=False),
    Action("monitor.copy", "y", "Copy", "Copy the run's id and figures"),
    Action("monitor.write", "w", "Write", "Write the run's log to a file"),
    # evaluation, a page over the monitor
    Action("evaluation.measure", "m", "Measure", "Measure base and tuned model now", footer=True),
    Action("evaluation.stop", "x", "Stop", "Give up the measuring; nothing of it is kept", footer=True),
    Action("evaluation.rows", "n", "Rows", "Set how many rows are measured at most", footer=True),
    Action("evaluation.file", "f", "File", "Measure on another file of rows", footer=True),
    Action("evaluation.length", "l", "Reply length", "Set the longest reply in tokens", footer=True),
    Action(
        "evaluation.panes",
        "tab",
        "Next pane",
        "Go to the next pane: figures, classes, replies",
        palette=False,
    ),
    Action("evaluation.copy", "y", "Copy", "Copy the figures"),
    Action("evaluation.write", "w", "Write", "Write the evaluation to a JSON file"),
    # runs
    Action("runs.open", "enter", "Open", "Watch this run", footer=True),
    Action("runs.new", "n", "New", "Set up a new run", footer=True),
    Action("runs.chat", "c", "Chat", "Talk to this run's model", footer=True),
    Action("runs.filter", "slash", "Filter", "Show only runs that contain these words", footer=True),
    Action("runs.delete", "x", "Delete", "Move the run to the trash", footer=True),
    Action(
        "runs.export",
        "o",
        "Export",
        "Write the model to a folder: adapter, merged weights, or for Ollama",
        footer=True,
    ),
    Action("runs.mark", "space", "Mark", "Mark the run, or take its mark away; up to four are compared"),
    Action("runs.compare", "v", "Compare", "Put the marked runs side by side", footer=True),
    Action("runs.clean", "f", "Free space", "See what can go from the disk, and take it away"),
    Action("runs.stop", "s", "Stop", "Stop the run; its checkpoint and model are kept"),
    Action("runs.pause", "p", "Pause", "Write a checkpoint, leave and free the device"),
    Action("runs.resume", "r", "Resume", "Go on from the last checkpoint"),
    Action("runs.rename", "e", "Rename", "Give the run another name"),
    Action("runs.undo", "u", "Undo delete", "Bring the last deleted run back"),
    Action("runs.trash", "t", "Trash", "Show the deleted runs, or the others"),
    Action("runs.copy", "y", "Copy", "Copy the run's id"),
    # runs side by side, a page over the runs
    Action("compare.next_curve", "right_square_bracket", "Other curve", "Training or validation loss", footer=True),
    Action("compare.axis", "b", "By", "Draw over steps, tokens or training time", footer=True),
    Action("compare.smooth", "z", "Smooth", "Smooth the training losses, or show them as they are", footer=True),
    Action("compare.log_scale", "l", "Log scale", "Draw on a logarithmic scale", footer=True),
    Action("compare.panes", "tab", "Next pane", "Go to the next pane: figures, settings", palette=False),
    Action("compare.copy", "y", "Copy", "Copy the tables"),
    Action("compare.write", "w", "Write", "Write the comparison to a JSON file"),
    # what can go, a page over the runs
    Action("clean.mark", "space", "Mark", "Mark what is to go, or take its mark away", footer=True),
    Action("clean.mark_all", "a", "Proposed", "Mark all that is proposed, or nothing", footer=True),
    Action("clean.delete", "x", "Delete", "Delete what is marked, for good", footer=True),
    Action("clean.refresh", "r", "Look again", "Look again at what is there", footer=True),
    Action("clean.copy", "y", "Copy", "Copy the command that deletes what is marked"),
    # chat
    Action("chat.write_message", "i,enter", "Message", "Type a message; esc leaves the field", footer=True),
    Action(
        "chat.both", "b", "Base beside", "Show the base model's reply beside the tuned one's", footer=True
    ),
    Action("chat.panes", "tab", "Other side", "Go to the other side: tuned, base", palette=False),
    Action("chat.again", "r", "Again", "Ask for the last reply once more", footer=True),
    Action("chat.choose_run", "m", "Model", "Choose the run to talk to", footer=True),
    Action("chat.settings", "o", "Settings", "Temperature, top-p, length, seed, system prompt", footer=True),
    Action("chat.stop", "s", "Stop", "Stop the reply that is being written", footer=True),
    Action("chat.clear", "x", "Clear", "Start an empty conversation"),
    Action("chat.editor", "e", "Editor", "Write the message in $EDITOR"),
    Action("chat.copy", "y", "Copy", "Copy the last reply"),
    Action("chat.write", "w", "Write", "Write the conversation to a file"),
)

MOVES: tuple[tuple[str, str], ...] = (
    ("j k, up down", "move by one"),
    ("^D ^U, page up page down", "move by a page"),
    ("g G, home end", "first and last"),
    ("esc", "leave a text field, close a dialog, go back"),
)
"""Keys of every list and log, for the help."""


def actions_of(screen: str) -> Iterator[Action]:
    """The actions of a screen (`data`, `train`, ...) or of the `app`."""
    return (action for action in ACTIONS if action.screen == screen)


def keys_of(action: Action, screen: str) -> list[str]:
    """The keys of an action on a screen; an action of the app gives way where the screen has one of its keys."""
    taken = (
        {key for own in actions_of(screen) for key in own.keys.split(",")}
        if action.screen == "app"
        else set()
    )
    return [key for key in action.keys.split(",") if key not in taken]


def bindings(screen: str) -> list[BindingType]:
    """Textual's bindings for a screen or the app."""
    return [
        Binding(action.keys, action.verb, action.label, id=action.id, show=action.footer, tooltip=action.help)
        for action in actions_of(screen)
    ]
