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
    "equals_sign": "=",
    "dollar_sign": "$",
    "G": "G",
}


def show_key(name: str) -> str:
    """A Textual key name as people write it: `ctrl+p` is `^P`, `question_mark` is `?`."""
    if name.startswith("ctrl+") and len(name) == 6:
        return "^" + name[-1].upper()
    return _SHOWN.get(name, name)


AZURE_PAGES = {
    "azure": "Get ready",
    "azure_models": "Models",
    "azure_jobs": "Jobs",
    "azure_endpoints": "Endpoints",
    "azure_sweep": "Clean up",
}
"""Titles of the Azure pages by their screen, in the order of `tab`."""


def _azure(screen: str, copies: str, *own: tuple[str, str, str, str]) -> tuple[Action, ...]:
    """The actions of an Azure page: its own (verb, keys, label, help), and those that all of these pages have."""
    pages = list(AZURE_PAGES)
    at = pages.index(screen)
    after, before = AZURE_PAGES[pages[(at + 1) % len(pages)]], AZURE_PAGES[pages[at - 1]]
    shown = (
        *own[:3],
        ("next_page", "tab,right_square_bracket", after, f"Go to the next page: {after.lower()}"),
        ("look", "r", "Ask again", "Ask Azure again for what is shown"),
        *own[3:],
    )
    beside = (
        ("previous_page", "left_square_bracket", before, f"Go to the page before: {before.lower()}"),
        ("read", "v", "In full", "Show what is known of the line in full; esc goes back to the list"),
        ("copy", "y", "Copy", f"Copy the code that waits to be typed, else {copies}"),
    )
    return tuple(
        Action(f"{screen}.{verb}", keys, label, sentence, footer=footer)
        for part, footer in ((shown, True), (beside, False))
        for verb, keys, label, sentence in part
    )


ACTIONS: tuple[Action, ...] = (
    # the app, everywhere
    Action("app.data", "1", "Data", "Go to Data: open a file, page through its conversations"),
    Action("app.train", "2", "Train", "Go to Train: set up a run and start it"),
    Action("app.monitor", "3", "Monitor", "Go to Monitor: watch a run live"),
    Action("app.runs", "4", "Runs", "Go to Runs: all runs, and what is kept of deleted ones"),
    Action("app.chat", "5", "Chat", "Go to Chat: talk to any two models, compare and judge them"),
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
    Action("data.choose_task", "a", "Task", "Show the rows as another task trains on them"),
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
    Action(
        "train.asset", "a", "Data asset", "Choose rows that are in Azure already: a data asset of the project"
    ),
    Action("train.reset", "r", "Reset", "Set the field back to its default"),
    Action("train.more", "m", "More", "Show or hide the rarely changed settings"),
    Action(
        "train.azure",
        "z",
        "Azure",
        "Open Azure: sign-in, checklist, models, endpoints, clean-up",
        footer=True,
    ),
    # Azure, pages over Train
    *_azure(
        "azure",
        "the line",
        ("fix", "enter", "Fix", "Do what the line needs, after a question"),
        ("sign_in", "i", "Sign in", "Sign in: Azure CLI, device code, service principal ..."),
        ("choose", "c", "Choose", "Choose subscription, resource group, project, tenant"),
        ("stop", "x", "Give up", "Give up the sign-in that waits for its code"),
    ),
    *_azure(
        "azure_models",
        "the model's registry id",
        ("use", "enter", "Train it", "Take the model into the form of a run in Azure"),
        ("search", "slash", "Search", "Search the registry by parts of the name"),
    ),
    *_azure(
        "azure_jobs",
        "the job's name and page",
        ("watch", "enter", "Watch", "Watch the job as a run of this machine; its rows are fetched to it"),
        ("cancel", "x", "Cancel", "Cancel the job in Azure, after a question"),
        ("logs", "l", "Logs", "Show the logs that Azure keeps of the job; esc goes back to the list"),
    ),
    *_azure(
        "azure_endpoints",
        "the endpoint's address",
        ("deploy", "d", "Deploy", "Deploy a tuned model, after its price"),
        ("chat", "c,enter", "Chat", "Talk to the endpoint"),
        ("delete", "x", "Delete", "Delete the endpoint: its hours stop"),
        ("rotate", "n", "New key", "Make a new key in place of an old one"),
    ),
    *_azure(
        "azure_sweep",
        "what is marked as a list",
        ("mark", "space", "Mark", "Mark what is to go, or take its mark away"),
        ("mark_all", "a", "All", "Mark everything, or nothing"),
        ("delete", "x", "Delete", "Delete what is marked in Azure, for good"),
    ),
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
    Action("runs.deploy", "d", "Deploy", "Serve the run's model at an address of this machine", footer=True),
    Action(
        "runs.deployments", "D", "Deployments", "See the deployments and what they are asked", footer=True
    ),
    Action("runs.clean", "f", "Free space", "See what can go from the disk, and take it away"),
    Action("runs.stop", "s", "Stop", "Stop the run; its checkpoint and model are kept"),
    Action("runs.pause", "p", "Pause", "Write a checkpoint, leave and free the device"),
    Action("runs.resume", "r", "Resume", "Go on from the last checkpoint"),
    Action("runs.rename", "e", "Rename", "Give the run another name"),
    Action("runs.undo", "u", "Undo delete", "Bring the last deleted run back"),
    Action("runs.trash", "t", "Trash", "Show the deleted runs, or the others"),
    Action("runs.copy", "y", "Copy", "Copy the run's id"),
    # deployments, a page over the runs
    Action("deployments.open", "enter", "Watch", "Read the page of the deployment", footer=True),
    Action("deployments.new", "n", "New", "Deploy the model of a run", footer=True),
    Action("deployments.chat", "c", "Chat", "Talk to the deployment", footer=True),
    Action("deployments.start", "a", "Start", "Start the deployment", footer=True),
    Action(
        "deployments.stop", "s", "Stop", "Stop the deployment; replies that are written may end", footer=True
    ),
    Action("deployments.copy", "y", "Copy", "Copy the address", footer=True),
    Action("deployments.key", "K", "New key", "Make another key; the old one ends at once", footer=True),
    Action("deployments.remove", "x", "Remove", "Stop the deployment and move it to the trash", footer=True),
    Action("deployments.collect", "o", "Rows", "Keep requests and replies as training rows", footer=True),
    Action("deployments.undo", "u", "Bring back", "Bring a removed deployment back"),
    Action(
        "deployments.period",
        "p",
        "Period",
        "Count the requests of a day, of an hour, or of all time",
        footer=True,
    ),
    Action("deployments.restart", "r", "Restart", "Stop the deployment and start it again", footer=True),
    Action(
        "deployments.filter", "slash", "Filter", "Show only deployments that contain these words", footer=True
    ),
    Action("deployments.follow", "f", "Follow", "Follow the end of requests or log"),
    Action(
        "deployments.panes", "tab", "Next pane", "Go to the next pane: page, requests, log", palette=False
    ),
    Action("deployments.write", "w", "Write", "Write the request log to a file"),
    # runs side by side, a page over the runs
    Action("compare.next_curve", "right_square_bracket", "Curve", "Training or validation loss", footer=True),
    Action("compare.axis", "b", "By", "Draw over steps, tokens or training time", footer=True),
    Action("compare.smooth", "z", "Smooth", "Smooth training losses, or show them as they are", footer=True),
    Action("compare.log_scale", "l", "Log scale", "Draw on a logarithmic scale", footer=True),
    Action("compare.price", "dollar_sign", "Price", "Say what an hour of this machine costs", footer=True),
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
    Action("chat.vote_left", "h", "Left", "In a blind vote: the left reply is better", footer=True),
    Action("chat.vote_right", "l", "Right", "In a blind vote: the right reply is better", footer=True),
    Action("chat.vote_tie", "equals_sign", "Tie", "In a blind vote: neither is better", footer=True),
    Action("chat.write_message", "i,enter", "Message", "Type a message; esc leaves the field", footer=True),
    Action("chat.stop", "s", "Stop", "Stop the reply that is being written", footer=True),
    Action("chat.again", "r", "Again", "Ask once more; the replies there are stay as a branch", footer=True),
    Action(
        "chat.save", "w", "Save row", "Append a reply, corrected if need be, to a training file", footer=True
    ),
    Action(
        "chat.choose_run", "m", "Model", "Choose who is talked to on the side with the focus", footer=True
    ),
    Action("chat.judge", "d", "Judge", "Hold both sides against the same rows, with figures", footer=True),
    Action("chat.both", "b", "B beside", "Show side B beside side A, or A alone", footer=True),
    Action("chat.blind", "v", "Vote", "Vote blind: which side says what is hidden until then", footer=True),
    Action("chat.chats", "a", "Chats", "Open, rename or delete kept chats", footer=True),
    Action("chat.settings", "o", "Settings", "Temperature, top-p, length, seed, stops, system", footer=True),
    Action("chat.rows", "D", "Check rows", "Open the saved rows in Data, which checks them"),
    Action("chat.improve", "t", "Improve", "Set up a run on the saved rows that goes on from this model"),
    Action("chat.panes", "tab", "Other side", "Go to the other side: A, B", palette=False),
    Action("chat.change", "c", "Change", "Say something else in the turn's place; a branch begins"),
    Action("chat.next_turn", "n", "Next turn", "Go to the next turn: keys act on it"),
    Action("chat.previous_turn", "N", "Previous turn", "Go to the turn before: keys act on it"),
    Action("chat.next_branch", "right_square_bracket", "Next branch", "Show what else was said there"),
    Action(
        "chat.previous_branch", "left_square_bracket", "Previous branch", "Show what was said there before"
    ),
    Action("chat.raw", "f", "Format", "Show replies as they were written, or laid out as Markdown"),
    Action("chat.clear", "x", "New chat", "Start an empty chat; this one is kept"),
    Action("chat.editor", "e", "Editor", "Write the message in $EDITOR"),
    Action("chat.copy", "y", "Copy", "Copy the last reply"),
    Action("chat.write", "W", "Write", "Write the conversation to a file"),
    # judge, a page over the chat
    Action("judge.measure", "m", "Judge", "Ask both sides now", footer=True),
    Action("judge.stop", "x", "Stop", "Give up the judging; nothing of it is kept", footer=True),
    Action(
        "judge.show", "v", "Only", "Show all that differ, where A is worse, or where B is worse", footer=True
    ),
    Action("judge.rows", "n", "Rows", "Set how many rows are asked at most", footer=True),
    Action("judge.file", "f", "File", "Ask the rows of a file", footer=True),
    Action("judge.prompts", "p", "Prompts", "Ask the prompts of a file, one a line", footer=True),
    Action("judge.length", "l", "Reply length", "Set the longest reply in tokens", footer=True),
    Action("judge.panes", "tab", "Next pane", "Go to the next pane: figures, replies", palette=False),
    Action("judge.copy", "y", "Copy", "Copy the figures"),
    Action("judge.write", "w", "Write", "Write the judgement to a JSON file"),
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
