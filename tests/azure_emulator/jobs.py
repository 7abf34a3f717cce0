"""Fine-tuning jobs with a life of their own."""

from __future__ import annotations

import json
import math
import re
import time
from dataclasses import dataclass, field
from typing import Any

from tests.azure_emulator import data, models, workspaces
from tests.azure_emulator.state import Operation, Settings, State, Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table, user_error

JOB = workspaces.WORKSPACE + "/jobs/{j}"
LIFE = ("NotStarted", "Queued", "Preparing", "Running", "Finalizing")
ENDED = ("Completed", "Failed", "Canceled")
MODEL_URI = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)


@dataclass
class Metric:
    key: str
    value: float
    step: int
    timestamp: int
    """Milliseconds since the epoch."""


@dataclass
class Job:
    """One job: `status` and `metrics` are brought up to now by `settle`."""

    name: str
    properties: dict[str, Any]
    sent: str
    made: float
    ending: str
    error: dict[str, Any]
    status: str = LIFE[0]
    entered: float = field(default_factory=time.time)
    metrics: list[Metric] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    started: float | None = None
    ended: float | None = None
    puts: int = 1

    @property
    def is_over(self) -> bool:
        return self.status in ENDED

    @property
    def registers_as(self) -> str:
        """The name its model is registered under."""
        outputs = self.properties.get("outputs") or {}
        output: dict[str, Any] = next(iter(outputs.values()), {})
        return str(output.get("assetName") or self.name)

    def cancel(self) -> None:
        if not self.is_over:
            self._enter("CancelRequested", time.time())

    def settle(self, now: float, state: State, workspace: Workspace) -> None:
        """Go on through the statuses that are over by now."""
        settings = state.settings
        while not self.is_over:
            length = _length(self.status, settings)
            if self.status == "Running":
                done = min(1.0, (now - self.entered) / length) if length else 1.0
                limit = 0.5 if self.ending == "Failed" else 1.0
                self._train(min(done, limit), length, settings)
                if self.ending == "Failed" and done >= limit and settings.hold_jobs_at != self.status:
                    self._end("Failed", self.entered + length * limit)
                    return
            if settings.hold_jobs_at == self.status or now - self.entered < length:
                return
            over = self.entered + length
            if self.status == "CancelRequested":
                self._end("Canceled", over)
            elif self.status == LIFE[-1]:
                self._end("Completed", over)
                models.register(state, workspace, self)
            else:
                self._enter(LIFE[LIFE.index(self.status) + 1], over)

    def _enter(self, status: str, moment: float) -> None:
        self.status, self.entered = status, moment
        self._say(f"Status: {status}")
        if status == "Running":
            self.started = moment

    def _end(self, status: str, moment: float) -> None:
        self._enter(status, moment)
        self.ended = moment
        if status == "Failed":
            self._say(f"ERROR {self.error['code']}: {self.error['message']}")

    def _say(self, text: str) -> None:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.entered))
        self.log.append(f"{moment} {text}")

    def _train(self, done: float, length: float, settings: Settings) -> None:
        """Steps with falling losses. The metrics' names and values are invented; no document lists them."""
        steps = settings.training_steps
        measured = "validationData" in self.properties.get("fineTuningDetails", {})
        logged = sum(metric.key == "train_loss" for metric in self.metrics)
        for step in range(logged + 1, int(done * steps + 1e-9) + 1):
            at = int((self.entered + length * step / steps) * 1000)
            loss = round(0.6 + 1.8 * math.exp(-3 * step / steps), 4)
            rate = round(2e-5 * (1 - (step - 1) / steps), 10)
            self.metrics.append(Metric("train_loss", loss, step, at))
            self.metrics.append(Metric("learning_rate", rate, step, at))
            self._say(f"step {step}/{steps} loss {loss}")
            if measured and (step % settings.evaluate_every == 0 or step == steps):
                self.metrics.append(Metric("eval_loss", round(loss + 0.1, 4), step, at))


def _length(status: str, settings: Settings) -> float:
    if status == "Running":
        return (
            4 * settings.seconds_per_status if settings.running_seconds is None else settings.running_seconds
        )
    return settings.seconds_per_status


def routes(table: Table) -> None:
    table.add("GET", workspaces.WORKSPACE + "/jobs", every)
    table.add("GET", JOB, get)
    table.add("PUT", JOB, put)
    table.add("DELETE", JOB, delete)
    table.add("POST", JOB + "/cancel", cancel)
    table.add("GET", workspaces.WORKSPACE + "/opresult/{o}", result)


def find(call: Call, workspace: Workspace) -> Job:
    found: Job | None = workspace.jobs.get(call.names["j"])
    if not found:
        raise Refusal(404, "UserError", f"Run {call.names['j']} was not found.")
    return found


def as_resource(call: Call, workspace: Workspace, job: Job) -> dict[str, Any]:
    tracking = call.azure.url.replace("https://", "azureml://")
    studio = f"https://ml.azure.localhost/runs/{job.name}?wsid={workspace.arm_id}"
    return {
        "id": f"{workspace.arm_id}/jobs/{job.name}",
        "name": job.name,
        "type": "Microsoft.MachineLearningServices/workspaces/jobs",
        "systemData": call.azure.state.system_data(job.made),
        "properties": {
            **job.properties,
            "status": job.status,
            "services": {
                "Tracking": {
                    "jobServiceType": "Tracking",
                    "endpoint": f"{tracking}/mlflow/v1.0{workspace.arm_id}",
                },
                "Studio": {"jobServiceType": "Studio", "endpoint": studio},
            },
        },
    }


def every(call: Call) -> Answer:
    workspace = workspaces.find(call)
    newest = sorted(workspace.jobs.values(), key=lambda job: -job.made)
    return data.listing(call, [as_resource(call, workspace, job) for job in newest])


def get(call: Call) -> Answer:
    workspace = workspaces.find(call)
    return Answer(body=as_resource(call, workspace, find(call, workspace)))


def put(call: Call) -> Answer:
    """Make a job. The same body again is the same job; another body may only archive it."""
    workspace, state = workspaces.find(call), call.azure.state
    properties = call.body.get("properties") or {}
    sent = json.dumps(properties, sort_keys=True)
    existing: Job | None = workspace.jobs.get(call.names["j"])
    if existing:
        existing.puts += 1
        if existing.sent != sent:
            if properties.get("isArchived") is not True:
                # Invented text: that a job's definition can't be changed is documented, the words are not.
                raise user_error(400, f"Run {existing.name} already exists with other settings.", "Immutable")
            existing.properties["isArchived"] = True
        return Answer(200, as_resource(call, workspace, existing))
    if properties.get("jobType") != "FineTuning":
        raise user_error(400, f"This loopback Azure runs no {properties.get('jobType')} jobs.", "BadArgument")
    _check_details(call, workspace, properties["fineTuningDetails"])
    job = Job(
        call.names["j"],
        dict(properties),
        sent,
        state.now(),
        state.settings.job_ending,
        dict(state.settings.job_error),
    )
    workspace.jobs[job.name] = job
    return Answer(201, as_resource(call, workspace, job))


def _check_details(call: Call, workspace: Workspace, details: dict[str, Any]) -> None:
    """The model must be one of the registry's, tunable here; the data must exist where it is an asset."""
    uri = details["model"]["uri"]
    named = MODEL_URI.fullmatch(uri)
    found = call.azure.registries.get(named["registry"], {}).get(named["name"]) if named else None
    if not named or not found or named["version"] not in found.versions:
        raise user_error(400, f"The model {uri} was not found.", "NotFound")
    if found.retired:
        # Invented text: retirement is documented, the refusal's words are not.
        raise user_error(
            400,
            f"The model {found.name} was retired for fine-tuning on {found.retired[:10]}.",
            "ModelRetired",
        )
    if workspace.location not in found.regions:
        raise user_error(
            400,
            f"The requested model {uri} is not available in region {workspace.location}.",
            "NotFound",
            "ServerlessModelNotAvailableInRegion",
        )
    for key in ("trainingData", "validationData"):
        asset = re.search(r"/data/([^/]+)/versions/([^/]+)$", (details.get(key) or {}).get("uri", ""))
        if asset and asset[2] not in workspace.data.get(asset[1], {}):
            raise user_error(400, f"The data asset {asset[1]}:{asset[2]} was not found.", "NotFound")


def delete(call: Call) -> Answer:
    workspace = workspaces.find(call)
    job: Job | None = workspace.jobs.get(call.names["j"])
    if not job:
        return Answer(204)
    if not job.is_over:
        raise user_error(400, f"Run {job.name} is still active; cancel it before deleting it.", "BadArgument")
    del workspace.jobs[job.name]
    return Answer(200)


def cancel(call: Call) -> Answer:
    workspace, state = workspaces.find(call), call.azure.state
    job = find(call, workspace)
    if job.is_over:
        # Invented text.
        raise user_error(400, f"Run {job.name} is in a final state: {job.status}.", "BadArgument")
    job.cancel()
    if not state.settings.cancel_accepted:
        return Answer(200)
    name = state.start(Operation(time.time() + state.settings.seconds_per_status))
    where = f"{call.azure.url}{workspace.arm_id}/opresult/{name}?api-version={call.version}"
    return Answer(202, headers={"Location": where, "retry-after-ms": "100"})


def result(call: Call) -> Answer:
    found = call.azure.state.operations.get(call.names["o"])
    if not found:
        raise Refusal(404, "OperationNotFound", f"The operation '{call.names['o']}' was not found.")
    where = f"{call.azure.url}{call.path}?api-version={call.version}"
    return (
        Answer(202, headers={"Location": where, "retry-after-ms": "100"})
        if found.status == "InProgress"
        else Answer(200)
    )
