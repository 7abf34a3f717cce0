"""Fine-tuning jobs: submitted once under a name of their own, watched, cancelled, listed, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.azure.clients import Azure, finished
from core.azure.data import TAG
from core.azure.faults import AzureError, asking, scrubbed

FINE_TUNING = "FineTuning"
OUTPUT = "registered_model"
ENDED = ("Completed", "Failed", "Canceled")
"""Statuses that nothing changes any more."""
IN_WORDS = {
    "NotStarted": "in line",
    "Starting": "starting",
    "Provisioning": "getting machines",
    "Preparing": "preparing",
    "Queued": "queued in Azure",
    "Running": "training",
    "Finalizing": "saving the model",
    "CancelRequested": "being cancelled",
    "Completed": "completed",
    "Failed": "failed",
    "Canceled": "cancelled",
    "NotResponding": "not responding",
    "Paused": "paused by Azure",
}
MOST_LOG_BYTES = 1 << 20


@dataclass(frozen=True)
class Order:
    """Everything a job is made of.

    Args:
        name: of the job; the same name is the same job.
        run: id of the finetui run.
        title: for people.
        model: versioned registry id of the base model.
        task: in the service's words, e.g. ChatCompletion.
        training: ARM id of the data asset to train on.
        validation: of the one to measure on, or empty.
        hyperparameters: the service's names, values as text.
        output: the name the tuned model is registered under.
    """

    name: str
    run: str
    title: str
    model: str
    task: str
    training: str
    validation: str
    hyperparameters: dict[str, str]
    output: str


ASKED_TO_CANCEL = "asked Azure to cancel the job"
"""What a run says once Azure has heard of its stop."""


@dataclass(frozen=True)
class Job:
    """A fine-tuning job as Azure has it. Times are UTC seconds, 0 for unknown."""

    name: str
    status: str
    title: str = ""
    run: str = ""
    """The finetui run it belongs to; empty for one that finetui did not make."""
    model: str = ""
    task: str = ""
    output: str = ""
    hyperparameters: dict[str, str] = field(default_factory=dict)
    studio: str = ""
    created: float = 0.0
    by: str = ""
    inputs: tuple[str, ...] = ()
    """What it reads: ARM ids of data assets, or addresses."""

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def words(self) -> str:
        """Its status for people."""
        return IN_WORDS.get(self.status, self.status or "unknown")


def find(azure: Azure, name: str) -> Job | None:
    """The job of a name, or None.

    Raises:
        AzureError: Azure can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with asking(f"The job {name}"):
        try:
            return _job(azure.service.jobs.get(*azure.place, name))
        except ResourceNotFoundError as error:
            if (getattr(error.error, "code", "") or "") in ("ResourceGroupNotFound", "SubscriptionNotFound"):
                raise
            return None


def get(azure: Azure, name: str) -> Job:
    """The job of a name.

    Raises:
        AzureError: there is none, or Azure can't be asked.
    """
    job = find(azure, name)
    if job is None:
        raise AzureError(
            f"There is no job {name} in {azure.account.project}.",
            "",
            "`finetui azure jobs` lists them.",
            status=404,
        )
    return job


def submit(azure: Azure, order: Order) -> Job:
    """Send a job, unless one of its name is there: then that one is the answer.

    Raises:
        AzureError: Azure refuses it or can't be asked.
    """
    from azure.core.exceptions import ResourceExistsError

    there = find(azure, order.name)
    if there is not None:
        return there
    with asking(f"The job {order.name}"):
        try:
            return _job(azure.service.jobs.create_or_update(*azure.place, order.name, _body(order)))
        except ResourceExistsError:  # an earlier try whose answer was lost
            there = find(azure, order.name)
            if there is None:
                raise
            return there


def _body(order: Order) -> Any:
    """The job as it goes over the wire.

    Made of the class behind azure-ai-ml's `create_finetuning_job`, which fails without validation data; and sent by
    the client below `ml.jobs`, which would add the Git remote of whatever folder this process works in.
    """
    from azure.ai.ml import Input, Output
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities._job.finetuning.custom_model_finetuning_job import CustomModelFineTuningJob

    held_out = Input(type=AssetTypes.URI_FILE, path=order.validation) if order.validation else None
    job = CustomModelFineTuningJob(
        name=order.name,
        display_name=order.title,
        experiment_name="finetui",
        task=order.task,
        model=Input(type=AssetTypes.MLFLOW_MODEL, path=order.model),
        training_data=Input(type=AssetTypes.URI_FILE, path=order.training),
        validation_data=held_out,
        hyperparameters=order.hyperparameters or None,
        outputs={OUTPUT: Output(type=AssetTypes.MLFLOW_MODEL, name=order.output)},
        tags={TAG: order.run},
        properties={},
    )
    return job._to_rest_object()


def cancel(azure: Azure, name: str) -> None:
    """Ask Azure to cancel a job; it takes a while. One that has ended stays as it is.

    Raises:
        AzureError: it can't be done.
    """
    try:
        with asking(f"The cancelling of {name}"):
            azure.service.jobs.begin_cancel(*azure.place, name, polling=False)
    except AzureError as error:
        if error.transient or not get(azure, name).ended:
            raise


def delete(azure: Azure, name: str) -> None:
    """Delete a job's record, its metrics with it; the registered model stays.

    Raises:
        AzureError: it can't be done, e.g. it has not ended.
    """
    with asking(f"The job {name}"):
        finished(azure.service.jobs.begin_delete(*azure.place, name))


def jobs(azure: Azure) -> list[Job]:
    """The project's fine-tuning jobs, newest first.

    Raises:
        AzureError: Azure can't be asked.
    """
    with asking("The list of jobs"):
        found = [
            _job(item)
            for item in azure.service.jobs.list(*azure.place)
            if item.properties.job_type == FINE_TUNING
        ]
    return sorted(found, key=lambda job: -job.created)


def history_api(azure: Azure) -> str:
    """Address of the service that keeps the runs of a project's jobs."""
    with asking("The project's history"):
        workspace = azure.service.workspaces.get(*azure.place)
        found = azure.get(str(workspace.properties.discovery_url))
    return f"{str(found['api']).rstrip('/')}/history/v1.0{azure.account.workspace}"


def tracking_uri(azure: Azure) -> str:
    """The project's MLflow address.

    Raises:
        AzureError: it can't be asked.
    """
    with asking("The project's history"):
        return str(azure.service.workspaces.get(*azure.place).properties.ml_flow_tracking_uri or "")


def details(azure: Azure, name: str) -> dict[str, Any]:
    """What the history says of a job's run: `error`, `logFiles` and more; empty before it begins.

    Raises:
        AzureError: it can't be asked.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with asking(f"The history of {name}"):
        try:
            return azure.get(f"{history_api(azure)}/runs/{name}/details")
        except ResourceNotFoundError:
            return {}


def seconds(azure: Azure, name: str) -> float | None:
    """How long a job that has ended took, from its start; None where the history doesn't say.

    Raises:
        AzureError: it can't be asked.
    """
    told = details(azure, name)
    try:
        start, end = (datetime.fromisoformat(str(told[key])) for key in ("startTimeUtc", "endTimeUtc"))
        return max(0.0, (end - start).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def why_failed(azure: Azure, name: str) -> str:
    """The reason that Azure gives for a job's failure; empty where it gives none."""
    error: dict[str, Any] = details(azure, name).get("error") or {}
    inner: dict[str, Any] = error["error"] if isinstance(error.get("error"), dict) else error
    code, message = str(inner.get("code") or ""), str(inner.get("message") or "")
    return scrubbed(": ".join(part for part in (code, message) if part))


def logs(azure: Azure, name: str) -> Iterator[tuple[str, str]]:
    """(file name, text) of a job's logs; of a long one its end.

    Raises:
        AzureError: there is no such job, or they can't be had.
    """
    get(azure, name)
    for title, address in sorted((details(azure, name).get("logFiles") or {}).items()):
        with asking(f"The log {title}"):
            content = azure.fetch(str(address))
        yield str(title), content[-MOST_LOG_BYTES:].decode("utf-8", "replace")


def _job(found: Any) -> Job:
    """A job of the wire. Fields of kinds this client doesn't know are read as mappings."""
    about = found.properties
    tuned = about.get("fineTuningDetails") or {}
    output = (about.get("outputs") or {}).get(OUTPUT) or {}
    services = about.get("services") or {}
    data = found.system_data
    return Job(
        name=str(found.name),
        status=str(about.get("status") or ""),
        title=str(about.get("displayName") or ""),
        run=str((about.get("tags") or {}).get(TAG, "")),
        model=str((tuned.get("model") or {}).get("uri") or ""),
        task=str(tuned.get("taskType") or ""),
        output=str(output.get("assetName") or ""),
        hyperparameters=dict(tuned.get("hyperParameters") or {}),
        studio=str((services.get("Studio") or {}).get("endpoint") or ""),
        created=data.created_at.timestamp() if data and data.created_at else 0.0,
        by=str(data.created_by or "") if data else "",
        inputs=tuple(
            str(tuned[side]["uri"])
            for side in ("trainingData", "validationData")
            if (tuned.get(side) or {}).get("uri")
        ),
    )
