"""`finetui train` and `finetui recipe`."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from core.backends.base import Checked
from core.command import RECIPE_SUFFIXES, flag
from core.errors import FinetuiError
from core.recipe import Recipe, RecipeError, build, dump, fields, load
from core.settings import FieldInfo
from tui.format import size
from tui.verbs.output import errors_told, interactive, out, out_json, say

TYPES = {"int": int, "float": float, "bool": bool}


def register(app: typer.Typer) -> None:
    """Add the verbs; the options of `train` are made from the table of settings."""
    app.command("train")(with_settings(train))
    app.command("recipe")(recipe)


def train(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECIPE.yaml | DATA...", help="A recipe, or files of rows.", show_default=False
        ),
    ],
    detach: Annotated[bool, typer.Option("--detach", help="Start it and return at once.")] = False,
    app: Annotated[bool, typer.Option("--app", help="Open the app on it.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is wrong and what it would take.")
    ] = False,
    go_on: Annotated[
        bool, typer.Option("--go-on", help="Go on with the run of this name where there is one.")
    ] = False,
    rendezvous: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Where several machines meet.", show_default=False),
    ] = None,
    node_rank: Annotated[
        int | None,
        typer.Option(min=0, help="Number of this machine; Slurm says it itself.", show_default=False),
    ] = None,
    sbatch: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a batch script for Slurm instead.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    **settings: Any,
) -> None:
    """Train a model: on a recipe, or on files of rows with the settings given as options.

    The run is a process of its own. This command follows it in plain lines; Ctrl-C leaves the run to itself.
    With --rendezvous, started on each of `nodes` machines, they train it together.
    """
    from tui.verbs import cluster

    with errors_told():
        wanted = from_files(files, settings)
        if sbatch is not None:
            cluster.write_script(wanted, files, sbatch)
            return
        if rendezvous is not None and cluster.meet(wanted, rendezvous, node_rank):
            return
        if go_on and cluster.go_on(wanted, json=json):
            return
        if not check and wanted.value("backend") == "azure":
            from tui.verbs.azure_text import look_at_assets

            look_at_assets(wanted)
        passed = report(wanted, json=json and check)
        if check or not passed:
            raise typer.Exit(0 if passed else 2)
        submit(wanted, detach=detach, app=app, json=json)


def submit(wanted: Recipe, *, detach: bool, app: bool, json: bool) -> None:
    """Start the run and show it the way that was asked for."""
    from core.runs import supervisor
    from tui.verbs.runs import as_data

    row = supervisor.submit(wanted, Path.cwd())
    say(f"Started {row.id}. It goes on without this terminal; `finetui watch {row.id}` comes back to it.")
    for risk in supervisor.survival_risks():
        say(f"  ! {risk}")
    if app and interactive():
        from tui.app import FinetuiApp

        FinetuiApp(mode="monitor", run=row.id).run()
    elif detach:
        if json:
            out_json(as_data(row))
        else:
            out(row.id)
    else:
        from tui.verbs.follow import follow

        raise typer.Exit(follow(row.id, json=json))


def from_files(files: list[Path], options: dict[str, Any]) -> Recipe:
    """A recipe from a file, changed by options; or from data files and options. Options that are None are not set."""
    settings = {key: value for key, value in options.items() if value not in (None, [])}
    if files[0].suffix in RECIPE_SUFFIXES:
        if len(files) > 1:
            raise RecipeError([("", f"Give one recipe; {files[1]} is one file too many.")], str(files[0]))
        content = load(files[0]).model_dump(exclude_none=True)
    else:
        content = {"data": [str(path) for path in files]}
        if settings.get("backend") == "azure" and "model" not in settings:
            raise FinetuiError(
                "`model` is required: Azure tunes other models than this machine's default.",
                "",
                "Add --model, e.g. phi-4-mini-instruct; `finetui azure models` lists those that Azure tunes.",
            )
        settings.setdefault("model", "smollm2-135m-instruct")
    from core.runs.references import settled

    wanted = build({**content, **settings}, "the command" if settings else str(files[0]))
    return settled(wanted).absolute(Path.cwd())


def report(wanted: Recipe, json: bool = False) -> bool:
    """Tell problems and sizes; whether nothing forbids the start."""
    from core.backends import get

    checked = get(wanted.value("backend")).check(wanted)
    if checked.remote and not json:
        from tui.verbs.azure_text import remote_lines, tell_note

        tell_note()
        for line in remote_lines(wanted, checked.remote):
            say(line)
    if json:
        from tui.verbs.azure_text import remote_data

        price = {"price": remote_data(wanted, checked.remote)} if checked.remote else {}
        out_json({**asdict(checked), **price})
        return not checked.errors
    tell_problems(checked)
    if sizes := checked.estimate:
        say(
            f"{wanted.model}: {sizes.steps} steps, {sizes.rows} rows, {sizes.tokens:,} tokens; memory about "
            f"{size(sizes.peak_bytes)} of {size(sizes.available_bytes)} on {sizes.device}; "
            f"disk {size(sizes.disk_bytes)}"
        )
    return not checked.errors


def tell_problems(checked: Checked) -> None:
    """Each problem with its remedy, to stderr."""
    for problem in checked.problems:
        say(f"{'error  ' if problem.severity == 'error' else 'warning'}  {problem.sentence}")
        if problem.fix:
            say(f"         -> {problem.fix}")


def recipe(
    file: Annotated[Path | None, typer.Argument(help="A recipe to show in full.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every key of a recipe with its range, default and meaning; or show a recipe as it is understood."""
    with errors_told():
        if file is not None:
            loaded = load(file)
            if json:
                out_json(loaded.model_dump(exclude_none=True))
            else:
                out(dump(loaded).rstrip())
            return
        if json:
            out_json([item.__dict__ for item in fields()])
            return
        group = ""
        for item in fields():
            if item.group != group:
                group = item.group
                out(f"\n# {group}")
            out(_line(item))


def _line(item: FieldInfo) -> str:
    unset = "required" if item.required else f"unset: {item.default_text}"
    usual = f" Usual: {item.usual}." if item.usual else ""
    effect = f" {item.effect}" if item.effect else ""
    return f"{item.name}: {item.expected} ({unset})\n    {item.help}{usual}{effect}"


def with_settings(verb: Any) -> Any:
    """The verb with an option for every setting of the table but the data, which are arguments."""
    kept = [item for item in inspect.signature(verb).parameters.values() if item.kind is not item.VAR_KEYWORD]

    def command(**arguments: Any) -> None:
        verb(**arguments)

    added = [_option(item) for item in fields() if item.name != "data"]
    command.__doc__ = verb.__doc__
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [item.replace(kind=item.KEYWORD_ONLY, annotation=_resolved(verb, item.name)) for item in kept] + added
    )
    command.__annotations__ = {
        item.name: item.annotation
        for item in command.__signature__.parameters.values()  # type: ignore[attr-defined]
    }
    return command


def _resolved(verb: Any, name: str) -> Any:
    from typing import get_type_hints

    return get_type_hints(verb, include_extras=True)[name]


def _option(item: FieldInfo) -> inspect.Parameter:
    kind: Any = list[str] if item.kind == "list" else TYPES.get(item.kind, str) | None
    names = [flag(item.name)]
    if item.kind == "bool":
        names = [f"{flag(item.name)}/--no-{item.name.replace('_', '-')}"]
    default = item.default_text or "none"
    option = typer.Option(
        *names, help=f"{item.help} [unset: {default}]", show_default=False, rich_help_panel=item.group
    )
    return inspect.Parameter(
        item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )
