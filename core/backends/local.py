"""This machine as a backend: LoRA on its GPU or CPU."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from core import devices
from core.backends.base import Checked, RecipeProblem
from core.backends.local_devices import device_problems, on_each, planned_devices
from core.data.sources import stamp
from core.errors import FinetuiError
from core.events import Starting
from core.recipe import Recipe
from core.source import Source, is_asset
from core.work import Estimate, Outcome, Run, TimePlan

if TYPE_CHECKING:
    from core.catalog.fetch import ModelRef
    from core.data.problems import Problem
    from core.data.rendering import Renderer
    from core.training.base_model import BaseModel
    from core.training.initial import Initial

SHOWN_ROWS = 5


class LocalBackend:
    """Trains in this process."""

    def check(self, recipe: Recipe) -> Checked:
        """Everything about the recipe's model, data, device and sizes that can be known without training."""
        from core.training.initial import InitialError, adopted, named

        initial = None
        try:
            if recipe.init_from is not None:
                initial = named(recipe.init_from)
                recipe = adopted(recipe, initial)
        except InitialError as error:
            return Checked((_error("init_from", error),), None)
        chosen = planned_devices(recipe)
        problems = [*device_problems(recipe, chosen), *_asset_problems(recipe), *data_problems(recipe)]
        reference, renderer = _model(recipe, problems)
        if initial is not None and reference is not None:
            problems += _other_base(initial, reference)
        sizes = None
        folder = reference.folder if reference else None
        if reference is not None and folder is None:
            problems.append(_to_fetch(reference))
        elif folder is not None and renderer is not None and not _errors(problems):
            from core.training.estimate import estimate
            from core.training.fit import misfits, parts_of_files

            problems += [_error(key, error) for key, error in misfits(recipe, parts_of_files(folder, recipe))]
            if _errors(problems):
                return Checked(tuple(problems), None)
            problems += _row_problems(recipe, renderer)
            precision = _planned_precision(recipe, chosen[0])
            sizes = on_each(estimate(recipe, chosen[0], precision, folder, renderer), recipe, chosen, folder)
            if sizes.peak_bytes > sizes.available_bytes:
                problems.append(_memory_problem(recipe, sizes, precision, folder, renderer))
            problems += _size_problems(recipe, sizes)
        return Checked(tuple(problems), sizes)

    def time(self, recipe: Recipe, sizes: Estimate) -> TimePlan:
        """How long a recipe will take, from a short training of it in a process of its own.

        Raises:
            ProbeError: it failed.
        """
        from core.training.initial import adopted, named
        from core.training.probe import ask, time_plan

        if recipe.init_from is not None:
            recipe = adopted(recipe, named(recipe.init_from))
        return time_plan(recipe, sizes, ask(recipe, sizes.device))

    def train(self, recipe: Recipe, run: Run) -> Outcome:
        """Fetch, render, train. Everything a resumed run needs is frozen in its directory at the first start."""
        from core.training.base_model import frozen_renderer, obtain
        from core.training.inputs import freeze_files, gather

        data = run.directory / "data"
        recipe, initial = _going_on(recipe, data)
        run.emit(Starting(phase="getting the model", device=run.device))
        base = obtain(recipe, run)
        if initial is not None:
            initial.refuse_other_base(base.name)
        if (early := _asked_to_leave(run)) is not None:
            return early
        run.emit(Starting(phase="reading the rows", device=run.device))
        renderer = frozen_renderer(recipe, base, data)
        files = freeze_files(recipe, data / "sources.json")
        if recipe.value("devices") * recipe.value("nodes") > 1:  # each process reads them itself
            return _on_several(recipe, run, base)
        inputs = gather(recipe, files, renderer)
        if initial is not None:
            initial.refuse_other_labels(inputs.labels)
        if (early := _asked_to_leave(run)) is not None:
            return early
        run.emit(Starting(phase="starting torch", device=run.device))
        devices.prepare_to_compute()
        from core.training.job import run_job

        return run_job(recipe, run, base, renderer, inputs)


def _going_on(recipe: Recipe, data: Path) -> tuple[Recipe, Initial | None]:
    """The recipe as its `init_from` has it, and that model, frozen in the run's data."""
    from core.training.initial import adopted, freeze, frozen, named

    if recipe.init_from is None:
        return recipe, None
    initial = frozen(data, recipe.init_from) or freeze(named(recipe.init_from), data)
    return adopted(recipe, initial), initial


def _other_base(initial: Initial, reference: ModelRef) -> list[RecipeProblem]:
    from core.training.initial import InitialError

    try:
        initial.refuse_other_base(reference.hub_id or reference.id)
    except InitialError as error:
        return [_error("model", error)]
    return []


def _on_several(recipe: Recipe, run: Run, base: BaseModel) -> Outcome:
    from core.training.launch import run_ranks

    if (early := _asked_to_leave(run)) is not None:
        return early
    if recipe.value("nodes") > 1:
        return _on_machines(recipe, run, base)
    run.emit(Starting(phase=f"starting {len(run.devices)} processes", device=run.device))
    return run_ranks(recipe, run, base)


def _on_machines(recipe: Recipe, run: Run, base: BaseModel) -> Outcome:
    from core.training.launch import run_ranks
    from core.training.nodes import Meeting, address

    place, nodes = address(), recipe.value("nodes")
    meeting = Meeting(place, nodes)
    meeting.tell(recipe, run.directory, run.resume_from, base)
    run.emit(Starting(phase=f"waiting for {nodes} machines at {place}", device=run.device))
    early: list[Outcome] = []

    def leaving() -> bool:
        outcome = _asked_to_leave(run)
        early.extend([outcome] if outcome else [])
        return bool(early)

    if not meeting.complete(leaving):
        return early[0]
    run.emit(Starting(phase=f"starting {len(run.devices)} processes on each machine", device=run.device))
    return run_ranks(recipe, run, base, place)


def _asked_to_leave(run: Run) -> Outcome | None:
    """How to end when a stop or a pause came before the first step; a checkpoint resumed from stays as it is."""
    verbs = [request.verb for request in run.requests() if request.verb in ("stop", "pause")]
    if not verbs:
        return None
    step = int(run.resume_from.name.rpartition("-")[2]) if run.resume_from else 0
    checkpoint = str(run.resume_from.relative_to(run.directory)) if run.resume_from else ""
    return Outcome("paused" if verbs[-1] == "pause" else "stopped", step, checkpoint=checkpoint)


def _errors(problems: list[RecipeProblem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


def _error(key: str, error: FinetuiError) -> RecipeProblem:
    return RecipeProblem(
        "error", key, " ".join(part for part in (error.what, error.cause) if part), error.next_step
    )


def _planned_precision(recipe: Recipe, device: str) -> str:
    return str(recipe.precision or ("fp32" if device == "cpu" else "bf16"))


def _asset_problems(recipe: Recipe) -> list[RecipeProblem]:
    """This machine can't read what lies in Azure."""
    from core.training.inputs import ASSET_HERE, ASSETS_STAY

    named = [("data", source.asset) for source in recipe.data if source.asset]
    if recipe.validation and is_asset(recipe.validation):
        named.append(("validation", recipe.validation))
    return [
        RecipeProblem("error", key, f"{asset} lies in Azure. {ASSETS_STAY}", ASSET_HERE.format(asset))
        for key, asset in named
    ]


def data_problems(recipe: Recipe) -> list[RecipeProblem]:
    problems = []
    task = recipe.value("task")
    for source in recipe.data:
        if source.path:
            problems += _file_problems("data", source, task)
    if recipe.validation:
        from core.training.inputs import validation_source

        if not is_asset(recipe.validation):
            problems += _file_problems("validation", validation_source(recipe), task)
    if task == "classification" and not problems:
        from core.training.labels import refused_labels

        refused = refused_labels(recipe)
        problems += [_error(*refused)] if refused else []
    if not (recipe.validation or recipe.validation_fraction):
        problems.append(
            RecipeProblem(
                "warning",
                "validation",
                "There are no validation rows: nothing tells learning from memorising.",
                "Name a `validation` file or data asset."
                if any(source.asset for source in recipe.data)
                else "Name a `validation` file, or set `validation_fraction` to 0.1.",
            )
        )
    return problems


def _file_problems(key: str, source: Source, task: str) -> list[RecipeProblem]:
    path = Path(source.path or "")
    found = _file_errors(path, stamp(path), tuple((source.columns or {}).items()), task)
    shown = [RecipeProblem("error", key, str(item), item.fix) for item in found[:SHOWN_ROWS]]
    if len(found) > SHOWN_ROWS:
        rest = f"{len(found) - SHOWN_ROWS} more problems in {path.name}."
        shown.append(RecipeProblem("error", key, rest, f"`finetui data check {path}` lists them all."))
    return shown


def _row_problems(recipe: Recipe, renderer: Renderer) -> list[RecipeProblem]:
    """Rows that the model's template can't render; the run would refuse them."""
    from core.training.estimate import refused_rows

    refused = refused_rows(recipe, renderer)
    shown = [_error(key, error) for key, error in refused[:SHOWN_ROWS]]
    if len(refused) > SHOWN_ROWS:
        rest = f"{len(refused) - SHOWN_ROWS} more rows can't be rendered."
        shown.append(RecipeProblem("error", "data", rest, "The Data screen shows them one by one."))
    return shown


@functools.lru_cache(maxsize=8)
def _file_errors(path: Path, _: object, columns: tuple[tuple[str, str], ...], task: str) -> list[Problem]:
    """The errors of a file; read again only when it has changed, since a form asks at every key."""
    from core.data.check import Options, check_file
    from core.data.problems import DataError
    from core.training.inputs import first_of_other_task

    mapping = dict(columns) or None
    options = Options(tiers=frozenset({"structure"}), cores=1, columns=mapping)
    try:
        found = [item for item in check_file(path, options=options) if item.severity == "error"]
        wrong = first_of_other_task(path, mapping, task)
    except DataError as error:  # the file itself can't be read
        return [error.problem]
    return found if wrong is None else [wrong, *found]


def _model(recipe: Recipe, problems: list[RecipeProblem]) -> tuple[ModelRef | None, Renderer | None]:
    """The model and its renderer where they are to be had; what stands against it is added to the problems."""
    from core.catalog.fetch import ModelError, resolve
    from core.data.rendering import Renderer, RenderingError
    from core.data.tasks import reads_conversations
    from core.training.base_model import template_text

    try:
        reference = resolve(recipe.model, recipe.model_revision)
    except ModelError as error:
        problems.append(_error("model", error))
        return None, None
    try:
        template = template_text(recipe)
        if reference.folder is None:
            return reference, None
        conversations = reads_conversations(recipe.value("task"))
        return reference, Renderer.from_folder(reference.folder, template, conversations=conversations)
    except (ModelError, RenderingError) as error:
        problems.append(_error("chat_template", error))
        return reference, None


def _to_fetch(reference: ModelRef) -> RecipeProblem:
    entry = reference.entry
    size = f", about {entry.parameters * 2 / 1e9:.1f} GB" if entry else ""
    terms = f" Its licence must be accepted first: {entry.licence_url}." if entry and entry.gated else ""
    return RecipeProblem(
        "warning",
        "model",
        f"{reference.id} is not on this machine yet{size}; the run fetches it first.{terms}",
        f"`finetui models fetch {reference.id}` fetches it now.",
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def _memory_problem(
    recipe: Recipe, sizes: Estimate, precision: str, folder: Path, renderer: Renderer
) -> RecipeProblem:
    """Too little memory, with the nearest recipe that fits."""
    from core.training.memory import read_shape
    from core.training.nearest import in_words, nearest_that_fits

    changes = nearest_that_fits(
        recipe, sizes.device, precision, read_shape(folder), renderer, sizes.available_bytes
    )
    same = "" if "sequence_length" in changes else "; what is learned stays the same"
    return RecipeProblem(
        "error",
        next(iter(changes), "model"),
        f"Too little memory: about {_size(sizes.peak_bytes)} needed, "
        f"{_size(sizes.available_bytes)} free on {sizes.device}.",
        f"Set {in_words(changes)}: that fits{same}."
        if changes
        else "No shorter row or smaller pack fits: choose a smaller model, or free memory.",
    )


def _size_problems(recipe: Recipe, sizes: Estimate) -> list[RecipeProblem]:
    problems = []
    if recipe.validation_fraction and not sizes.validation_rows:
        problems.append(
            RecipeProblem(
                "warning",
                "validation_fraction",
                "`validation_fraction` holds no row back, since no file has more than one: "
                "nothing tells learning from memorising.",
                "Name a `validation` file, or add rows.",
            )
        )
    if sizes.disk_bytes > sizes.free_disk_bytes:
        problems.append(
            RecipeProblem(
                "error",
                "keep_checkpoints",
                f"Too little disk: about {_size(sizes.disk_bytes)} for checkpoints and model, "
                f"{_size(sizes.free_disk_bytes)} free.",
                "Free some space, or lower `keep_checkpoints`.",
            )
        )
    if sizes.rows == 0:
        problems.append(
            RecipeProblem(
                "error",
                "sequence_length",
                "No row has a token to learn within `sequence_length`.",
                "Raise `sequence_length`.",
            )
        )
    if sizes.cut_rows:
        problems.append(
            RecipeProblem(
                "warning",
                "sequence_length",
                f"{sizes.cut_rows} rows are longer than {recipe.value('sequence_length')} tokens and will be cut"
                + (
                    f"; {sizes.dropped_rows} of them have nothing left to learn."
                    if sizes.dropped_rows
                    else "."
                ),
                "Raise `sequence_length`, or shorten the rows.",
            )
        )
    return problems
