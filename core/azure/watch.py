"""A job from its submission to its end, told to the run's journal, from wherever an earlier worker left off."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

from core.azure import jobs, metrics, tuned
from core.azure.clients import poll_s
from core.azure.faults import AzureError
from core.azure.jobs import Job, Order
from core.azure.metrics import History, Point
from core.azure.patience import Patience
from core.azure.record import Record, write
from core.events import Evaluated, Event, Status, Step, Submitted, Warned, decode
from core.work import Outcome, RemoteOutcome, Run

JOURNAL = "journal.jsonl"
LARGEST_EXPONENT = 700.0


class Watch:
    """One run's job.

    Args:
        patience: asks Azure.
        run: the run.
        record: what is known of it in Azure so far.
    """

    def __init__(self, patience: Patience, run: Run, record: Record) -> None:
        self.patience = patience
        self.azure = patience.azure
        self.run = run
        self.record = record
        self._history: History | None = None
        self._told = told(run.directory / JOURNAL)
        self._eval_loss: float | None = None
        self._said = False  # a worker says how the job is even if an earlier one has

    @property
    def step(self) -> int:
        """The last step that the journal has."""
        return max(0, *self._told.values())

    def keep(self, **changes: object) -> None:
        """Change the record, on the disk first."""
        self.record = write(self.run.directory, replace(self.record, **changes))  # type: ignore[arg-type]

    def submit(self, order: Order, prices: dict[str, float | None]) -> Job:
        """Have the job in Azure: the one of this name, sent now or earlier.

        Args:
            order: the job.
            prices: what is known of them, by the names that `Submitted` has.

        Raises:
            AzureError, Left, Stopped: as `Patience.insist`.
        """
        self.patience.job_may_exist = True  # an answer may be lost after the job is made
        job = self.patience.insist(lambda: jobs.submit(self.azure, order))
        if not self.record.submitted:
            self.keep(submitted=True, studio=job.studio, job=job.name)
            self.run.emit(
                Submitted(
                    job=job.name,
                    cost_usd=prices["cost_usd"],
                    price_in_usd=prices["price_in_usd"],
                    price_out_usd=prices["price_out_usd"],
                )
            )
            self._told = dict.fromkeys(self._told, -1)
        return job

    def follow(self) -> Outcome:
        """Watch the job until it ends.

        Raises:
            AzureError: it has failed, or is gone.
            Left: the process must end first.
        """
        asked = False
        while True:
            job = self.patience.insist(lambda: jobs.get(self.azure, self.record.job))
            self._tell(job)
            self._measure()
            if job.ended:
                return self._end(job)
            if self.patience.stopping and not asked:
                asked = True
                self.patience.insist(lambda: jobs.cancel(self.azure, self.record.job))
                self.run.emit(Status(text=jobs.ASKED_TO_CANCEL))
            self.patience.wait(poll_s())

    def _tell(self, job: Job) -> None:
        known, self._said = self._said, True
        if known and job.status == self.record.status and job.studio == self.record.studio:
            return
        if not known or job.status != self.record.status:
            self.run.emit(Status(text=job.words, training=job.status == "Running"))
        self.keep(status=job.status, studio=job.studio or self.record.studio)

    def _end(self, job: Job) -> Outcome:
        if job.status == "Canceled":
            if not self.patience.stopping:
                self.run.emit(Warned(text="The job was cancelled in Azure, not here.", next_step=""))
            return Outcome("stopped", self.step)
        if job.status == "Failed":
            run_id = self.run.directory.name
            why = self.patience.insist(lambda: jobs.why_failed(self.azure, job.name))
            raise AzureError(
                f"The job {job.name} failed in Azure.",
                why or "Azure gives no reason.",
                f"`finetui azure logs {job.name}` shows its log; `finetui resume {run_id}` sends a new one.",
                code="job_failed",
            )
        found = self.patience.insist(lambda: tuned.newest(self.azure, self.record.output))
        if found is None:
            raise AzureError(
                f"The job {job.name} is completed, but Azure has no model {self.record.output}.",
                "",
                f"See the job's page: {self.record.studio}",
            )
        self.keep(registered=f"{found.name}:{found.version}")
        took = self.patience.insist(lambda: jobs.seconds(self.azure, job.name))
        model = f"azureml:{found.name}:{found.version}"
        return RemoteOutcome("finished", self.step, model=model, loss=self._eval_loss, job_s=took)

    # Metrics

    def _measure(self) -> None:
        """Tell what has been measured since the last look."""
        if self._history is None:
            uri = self.patience.insist(lambda: jobs.tracking_uri(self.azure))
            if not uri:
                return
            self._history = History(self.azure, uri, self.record.job)
        latest = self.patience.insist(self._history.latest)
        loss, held_out = metrics.chosen(metrics.LOSS, latest), metrics.chosen(metrics.EVAL_LOSS, latest)
        if loss and (points := self._new(Step, loss, latest)):
            beside = {
                name: {item.step: item.value for item in self._series(name)}
                for name in metrics.OTHERS
                if name in latest
            }
            for point in points:
                self.run.emit(_step(point, beside))
            self._told[Step] = points[-1].step
        if held_out:
            self._eval_loss = latest[held_out].value
            if points := self._new(Evaluated, held_out, latest):
                for point in points:
                    self.run.emit(_evaluated(point, self.record.validation_rows))
                self._told[Evaluated] = points[-1].step

    def _new(self, kind: type[Event], key: str, latest: dict[str, Point]) -> list[Point]:
        """The values of a metric that the journal doesn't have yet."""
        known = self._told[kind]
        if latest[key].step <= known:
            return []
        return [point for point in self._series(key) if point.step > known]

    def _series(self, key: str) -> list[Point]:
        assert self._history is not None
        return self.patience.insist(partial(self._history.series, key))


def told(journal: Path) -> dict[type[Event], int]:
    """The last step that a run's journal tells of, measured and evaluated; -1 for none since its job was sent.

    A worker may have been killed between telling a step and anything it could have noted elsewhere.
    """
    last: dict[type[Event], int] = {Step: -1, Evaluated: -1}
    for line in journal.read_bytes().splitlines() if journal.exists() else []:
        try:
            event = decode(line)
        except ValueError:  # torn by the end of an earlier worker
            continue
        if isinstance(event, Submitted):
            last = dict.fromkeys(last, -1)
        elif isinstance(event, Step | Evaluated):
            last[type(event)] = max(last[type(event)], event.step)
    return last


def _step(point: Point, beside: dict[str, dict[int, float]]) -> Step:
    """A step as far as the service tells of it."""
    return Step(
        step=point.step,
        epoch=beside.get("epoch", {}).get(point.step),
        loss=point.value,
        learning_rate=beside.get("learning_rate", {}).get(point.step),
        grad_norm=beside.get("grad_norm", {}).get(point.step),
        tokens=None,
        trained_tokens=None,
        tokens_per_s=None,
        memory_bytes=None,
        duration_s=None,
    )


def _evaluated(point: Point, rows: int) -> Evaluated:
    """The service measures the loss alone; how many tokens it measured on it doesn't say."""
    perplexity = math.exp(point.value) if point.value < LARGEST_EXPONENT else math.inf
    return Evaluated(
        step=point.step, loss=point.value, perplexity=perplexity, rows=rows, trained_tokens=0, duration_s=0.0
    )
