"""Azure's serverless fine-tuning as a backend: rows are uploaded, a job is sent once, and watched to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from core.azure import account as accounts
from core.azure import assets, data, known, models, rows
from core.azure.account import Account
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.azure.jobs import ENDED, Order
from core.azure.marketplace import refuse_unsubscribed
from core.azure.patience import Left, Patience, Stopped, told_by
from core.azure.record import Record, begin, read, write
from core.azure.settings import TASKS, hyperparameters, refusals
from core.azure.watch import Watch
from core.backends.azure_rows import faults, files, here, not_looked_at, sizes_of
from core.backends.azure_sides import Side, asset_problems, refuse_faults, sides
from core.backends.base import BackendError, Checked, RecipeProblem
from core.backends.local import data_problems
from core.data.check.azure import FEW_ROWS, MAX_FILE_BYTES
from core.events import Starting, Status, Uploaded, Warned
from core.recipe import Recipe
from core.source import Source
from core.work import Estimate, Outcome, RemoteEstimate, Run, TimePlan

SHOWN_ROWS = 5
NOT_ASKED = (
    "Azure was not asked lately whether the region tunes the model, the role suffices and all else is there."
)


class AzureBackend:
    """Trains in a project of the account in use."""

    def check(self, recipe: Recipe) -> Checked:
        """Everything that can be known without Azure: settings, model, rows, account. Sends nothing."""
        account = accounts.load()
        problems = [
            RecipeProblem("error", refusal.key, refusal.sentence, refusal.fix) for refusal in refusals(recipe)
        ]
        problems += _model_problems(recipe, account)
        problems += _account_problems(account)
        if not any(item.key == "task" for item in problems):
            problems += [*asset_problems(recipe), *data_problems(recipe)]
        if any(item.key in ("task", "data", "validation") and item.severity == "error" for item in problems):
            return Checked(tuple(problems), None)
        unseen = any(key == "data" for key, _ in not_looked_at(recipe))
        sizes = None if unseen else sizes_of(recipe)
        problems += _row_problems(recipe, sizes)
        if not any(item.severity == "error" for item in problems):
            problems += _found_by_check(recipe, account)
        return Checked(tuple(problems), None, sizes)

    def time(self, recipe: Recipe, sizes: Estimate) -> TimePlan:
        """Azure doesn't say how long a job will take.

        Raises:
            BackendError: always.
        """
        raise BackendError(
            "How long it takes in Azure is not known beforehand.",
            "Azure doesn't tell, and nothing can be measured without sending a job.",
            "`finetui runs` shows how long earlier jobs took.",
        )

    def train(self, recipe: Recipe, run: Run) -> Outcome:
        """Upload, submit, watch; from wherever an earlier worker left off. One run has one job at a time."""
        record = _record(recipe, run)
        here = accounts.load()  # where the job is stays; how to sign in is for now to say
        azure = Azure(replace(record.account, identity=here.identity, tenant=here.tenant), told_by(run))
        life = _Life(recipe, run, Patience(azure, run), record)
        try:
            return life.live()
        except Stopped:
            return Outcome("stopped", 0)
        except Left:
            left = life.watch.record
            cancels = f" `finetui azure cancel {left.job}` cancels it." if left.submitted else ""
            run.emit(
                Warned(
                    text="This process was told to end. "
                    + ("The job goes on in Azure." if left.submitted else "No job was sent yet."),
                    next_step=f"`finetui resume {run.directory.name}` goes on with it.{cancels}",
                )
            )
            return Outcome("paused", life.watch.step)


def _record(recipe: Recipe, run: Run) -> Record:
    """What is known of the run in Azure; a job that has failed or was cancelled is followed by another."""
    record = read(run.directory)
    if record is None:
        account = accounts.load()
        if account.missing:
            what, *_ = _account_problems(account)
            raise AzureError(what.sentence, "", what.fix, code="not_chosen")
        return write(run.directory, begin(run.directory.name, recipe.title, account))
    if record.status in ENDED[1:]:
        run.emit(
            Warned(
                text=f"The job {record.job} is over ({record.status.lower()}): a new one starts from the beginning."
            )
        )
        record = write(run.directory, record.again())
    return record


class _Life:
    """One worker's part of a run's life in Azure."""

    def __init__(self, recipe: Recipe, run: Run, patience: Patience, record: Record) -> None:
        self.recipe = recipe
        self.run = run
        self.patience = patience
        self.azure = patience.azure
        self.watch = Watch(patience, run, record)

    def live(self) -> Outcome:
        """Everything that is still to be done."""
        self.run.emit(Starting(phase="signing in to Azure"))
        self.patience.insist(self.azure.signed_in)
        if not self.watch.record.submitted:
            if not self.watch.record.base:
                self._choose_model()
            if not self.watch.record.training:
                self._upload()
            else:
                self._upload_what_is_gone()
            self.patience.look()
            self.run.emit(Starting(phase="submitting"))
            self.watch.submit(self._order(), self._prices())
        self.patience.job_may_exist = True
        return self.watch.follow()

    def _choose_model(self) -> None:
        self.run.emit(Starting(phase="asking for the model"))
        name = models.registry_id(self.recipe.model).removeprefix(models.PREFIX)
        found = self.patience.insist(lambda: models.get(self.azure, name))
        against = found.why_not(self.watch.record.account.region)
        if against:
            raise AzureError(
                against, "", "`finetui azure models` names each model's regions.", code="model_not_here"
            )
        self.patience.insist(lambda: refuse_unsubscribed(self.azure, found.id))
        self.watch.keep(base=f"{found.id}/versions/{found.version}")

    def _upload(self) -> None:
        self.run.emit(Starting(phase="reading the rows"))
        training, held_out = sides(self.recipe, self.run.directory / "data" / "sources.json")
        trained = self._sent_side("train", training)
        measured = self._sent_side("validation", held_out) if held_out else ("", 0)
        self.watch.keep(
            training=trained[0], validation=measured[0], rows=trained[1], validation_rows=measured[1]
        )

    def _sent_side(self, name: str, side: Side) -> tuple[str, int]:
        """(ARM id, rows) of a side's data asset: the one that is there, or made of rows that are sent."""
        if isinstance(side, str):
            self.run.emit(Starting(phase=f"looking at {side}"))
            looked = self.patience.insist(lambda: assets.look(self.azure, side, self.recipe.value("task")))
            refuse_faults(looked)
            self.run.emit(Status(text=f"{side} is in Azure: nothing is uploaded. {looked.why}".strip()))
            return looked.asset.id, looked.rows
        file = rows.write(side, self.recipe.value("task"), self._copy(name))
        return self._asset_of(file), len(side)

    def _upload_what_is_gone(self) -> None:
        """Have the rows of an earlier try in Azure again, where a clean-up has deleted their data assets since."""
        for name, key in (("train", "training"), ("validation", "validation")):
            held = str(getattr(self.watch.record, key))
            if not held or not self.patience.insist(partial(data.gone, self.azure, held)):
                continue
            copy, asset = rows.written(self._copy(name)), data.ASSET_ID.search(held)
            if copy is None or asset is None or data.name_of(copy.sha256) != asset["name"]:
                self._upload()  # no copy of just these rows is here: as at the beginning
                return
            self.watch.keep(**{key: self._asset_of(copy)})

    def _copy(self, name: str) -> Path:
        """Where the run keeps the rows of a side as they were sent."""
        return self.run.directory / "data" / f"{name}.jsonl"

    def _asset_of(self, file: rows.RowFile) -> str:
        """The ARM id of the data asset of a file's content; it is sent where Azure doesn't have it."""
        self.run.emit(Starting(phase=f"uploading {file.path.name}"))
        asset = self.patience.insist(
            partial(data.ensure, self.azure, file, self.watch.record.run, self._sent)
        )
        if asset.uploaded:
            self.run.emit(Uploaded(name=file.path.name, bytes=file.bytes))
        else:
            self.run.emit(Status(text=f"Azure has the content of {file.path.name} already"))
        return asset.id

    def _sent(self, done: int, total: int) -> None:
        self.run.emit(Status(text="uploading", done=done, total=total, unit="bytes"))
        self.patience.look()

    def _prices(self) -> dict[str, float | None]:
        """What training costs by the price list, of the rows that were sent, and what a million tokens do later."""
        from core.azure.prices import quotes

        name = models.registry_id(self.recipe.model).removeprefix(models.PREFIX)
        listed = quotes(name, self.watch.record.account.region)
        [first, *_] = self.recipe.data
        sent = here(first) if first.asset else Source(path=str(self.run.directory / "data" / "train.jsonl"))
        billed = None  # of rows that only Azure can read
        if sent is not None:
            whole = {"data": [sent], "validation": None, "validation_fraction": None}
            billed = sizes_of(self.recipe.model_copy(update=whole)).billed_tokens
        return {
            "cost_usd": None if billed is None else listed["training"].cost(billed),
            "price_in_usd": listed["input"].cost(1e6),
            "price_out_usd": listed["output"].cost(1e6),
        }

    def _order(self) -> Order:
        record = self.watch.record
        return Order(
            name=record.job,
            run=record.run,
            title=self.recipe.title,
            model=record.base,
            task=TASKS[self.recipe.value("task")],
            training=record.training,
            validation=record.validation,
            hyperparameters=hyperparameters(self.recipe),
            output=record.output,
        )


def _model_problems(recipe: Recipe, account: Account) -> Iterator[RecipeProblem]:
    try:
        listed = models.known_of(recipe.model)
    except AzureError as error:
        yield RecipeProblem("error", "model", error.what, error.next_step)
        return
    against = listed.why_not(account.region)
    if listed.retired:
        yield RecipeProblem(
            "error", "model", against, f"Train it here (`backend: local`), or tune {listed.successor}."
        )
    elif against and known.checked(account, listed.id) is None:  # the registry may know better than the table
        yield RecipeProblem(
            "warning", "model", f"By the catalogue: {against}", f"`{_ask(recipe)}` asks Azure."
        )


def _found_by_check(recipe: Recipe, account: Account) -> Iterator[RecipeProblem]:
    """What the checklist found lacking for the model lately, or that nobody asked it."""
    found = known.checked(account, models.registry_id(recipe.model))
    if found is None:
        yield RecipeProblem("warning", "backend", NOT_ASKED, f"`{_ask(recipe)}` asks.")
    elif found.lacks:
        words = f"On {found.day} Azure lacked what the run needs: {', '.join(found.lacks)}."
        yield RecipeProblem("warning", "backend", words, f"`{_ask(recipe)}` says more, and asks anew.")


def _ask(recipe: Recipe) -> str:
    return f"finetui azure check --model {recipe.model}"


def _account_problems(account: Account) -> Iterator[RecipeProblem]:
    if account.missing:
        words = ", ".join(name.replace("_", " ") for name in account.missing)
        yield RecipeProblem(
            "error",
            "backend",
            f"Azure: no {words} is chosen yet.",
            "`finetui azure login` chooses, `finetui azure check --fix` makes what is not there.",
        )


def _row_problems(recipe: Recipe, sizes: RemoteEstimate | None) -> Iterator[RecipeProblem]:
    """What the service would refuse of the rows as they would be sent."""
    for key, asset in not_looked_at(recipe):
        yield RecipeProblem(
            "warning",
            key,
            f"{asset} was not looked at yet: its rows are neither counted, priced nor checked.",
            f"`finetui azure data {asset}` does it.",
        )
    found = [
        (key, row, against)
        for key, name, source in files(recipe)
        for row, against in faults(name, source, recipe)
    ]
    for key, where, against in found[:SHOWN_ROWS]:
        yield RecipeProblem("error", key, f"{where}: {against}.", "Change or drop it, or train locally.")
    if len(found) > SHOWN_ROWS:
        rest = f"{len(found) - SHOWN_ROWS} more rows can't be sent."
        yield RecipeProblem(
            "error", found[SHOWN_ROWS][0], rest, "`finetui data check --for azure` lists them all."
        )
    if sizes and sizes.rows < FEW_ROWS:
        sentence = (
            f"There are {sizes.rows} rows to train on; Azure's other route asks for {FEW_ROWS} or more."
        )
        yield RecipeProblem("warning", "data", sentence, "Add rows.")
    for key, name, source in files(recipe):
        size = Path(source.path or "").stat().st_size
        if size >= MAX_FILE_BYTES:
            least = MAX_FILE_BYTES / 1e6
            sentence = f"{Path(name).name} has {size / 1e6:,.0f} MB; Azure takes files under {least:.0f} MB."
            yield RecipeProblem("warning", key, sentence, "Set `max_rows`, or take a sample.")
