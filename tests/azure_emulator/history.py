"""A job's run: its details, its log, its experiment, and its MLflow metrics."""

from __future__ import annotations

from typing import Any

from tests.azure_emulator import jobs
from tests.azure_emulator.jobs import Job
from tests.azure_emulator.state import Workspace
from tests.azure_emulator.wire import Answer, Call, Refusal, Table

SPACE = "/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.MachineLearningServices/workspaces/{w}"
MLFLOW = "/mlflow/{mlflow_version}" + SPACE + "/api/2.0/mlflow"
# MLflow knows five statuses; the ones before a run starts are SCHEDULED.
STATUSES = {
    "Running": "RUNNING",
    "Finalizing": "RUNNING",
    "CancelRequested": "RUNNING",
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
}


def routes(table: Table) -> None:
    for experiment in ("", "/experiments/{e}", "/experimentids/{e}"):
        table.add("GET", f"/history/v1.0{SPACE}{experiment}/runs/{{j}}/details", details)
        table.add("GET", f"/history/v1.0{SPACE}{experiment}/runs/{{j}}", run)
        table.add("PATCH", f"/history/v1.0{SPACE}{experiment}/runs/{{j}}", hide)
    table.add("GET", "/logs/{s}/{g}/{w}/{j}/std_log.txt", log, "open")
    table.add("GET", MLFLOW + "/runs/get", mlflow_run)
    table.add("GET", MLFLOW + "/metrics/get-history", mlflow_history)
    table.add("POST", MLFLOW + "/runs/search", mlflow_search)
    table.add("GET", MLFLOW + "/experiments/get-by-name", mlflow_experiment)
    table.add("GET", MLFLOW + "/experiments/get", mlflow_experiment)


def _job(call: Call) -> tuple[Workspace, Job]:
    workspace = call.azure.state.workspace(call.names["w"], call.names["g"], call.names["s"])
    if not workspace:
        raise Refusal(404, "UserError", f"Workspace {call.names['w']} was not found.")
    return workspace, jobs.find(call, workspace)


def _times(call: Call, job: Job) -> dict[str, str]:
    found = {"createdTimeUtc": job.made, "startTimeUtc": job.started, "endTimeUtc": job.ended}
    return {key: call.azure.state.stamp(moment) for key, moment in found.items() if moment is not None}


def details(call: Call) -> Answer:
    workspace, job = _job(call)
    where = f"{call.azure.url}/logs/{workspace.subscription}/{workspace.group}/{workspace.name}/{job.name}"
    body = {
        "runId": job.name,
        "status": job.status,
        "logFiles": {"user_logs/std_log.txt": f"{where}/std_log.txt"} if job.started else {},
        "warnings": [],
        **_times(call, job),
    }
    if job.status == "Failed":
        body["error"] = {"error": job.error}
    return Answer(body=body)


def run(call: Call) -> Answer:
    _, job = _job(call)
    body = {
        "runId": job.name,
        "status": job.status,
        "experimentId": job.properties.get("experimentName"),
        "displayName": job.properties.get("displayName"),
        "tags": job.properties.get("tags") or {},
        "properties": job.properties.get("properties") or {},
        **_times(call, job),
    }
    if job.status == "Failed":
        body["error"] = {"error": job.error}
    return Answer(body=body)


def hide(call: Call) -> Answer:
    _, job = _job(call)
    if "hidden" in call.body:
        job.properties["isArchived"] = bool(call.body["hidden"])
    return run(call)


def log(call: Call) -> Answer:
    _, job = _job(call)
    return Answer(text="".join(line + "\n" for line in job.log))


def _as_run(job: Job) -> dict[str, Any]:
    latest = {metric.key: metric for metric in job.metrics}
    settings = job.properties["fineTuningDetails"].get("hyperParameters") or {}
    info = {
        "run_id": job.name,
        "run_uuid": job.name,
        "run_name": job.properties.get("displayName") or job.name,
        "experiment_id": job.properties.get("experimentName") or "Default",
        "status": STATUSES.get(job.status, "SCHEDULED"),
        "start_time": int((job.started or job.made) * 1000),
        "artifact_uri": "",
        "lifecycle_stage": "active",
        "user_id": "Loopback",
    }
    if job.ended:
        info["end_time"] = int(job.ended * 1000)
    return {
        "info": info,
        "data": {
            "metrics": [vars(metric) for metric in latest.values()],
            "params": [{"key": key, "value": value} for key, value in settings.items()],
            "tags": [
                {"key": key, "value": value} for key, value in (job.properties.get("tags") or {}).items()
            ],
        },
    }


def _mlflow_job(call: Call) -> Job:
    call.names["j"] = call.query.get("run_id") or call.query.get("run_uuid") or ""
    try:
        return _job(call)[1]
    except Refusal as refusal:
        refusal.answer.body = {
            "error_code": "RESOURCE_DOES_NOT_EXIST",
            "message": f"Run with id {call.names['j']} was not found.",
        }
        raise


def mlflow_run(call: Call) -> Answer:
    return Answer(body={"run": _as_run(_mlflow_job(call))})


def mlflow_history(call: Call) -> Answer:
    """A metric's points in order; `page_token` is the place to go on from."""
    found = [vars(metric) for metric in _mlflow_job(call).metrics if metric.key == call.query["metric_key"]]
    begin = int(call.query.get("page_token", 0))
    end = begin + int(call.query.get("max_results", 25000))
    body: dict[str, Any] = {"metrics": found[begin:end]}
    if end < len(found):
        body["next_page_token"] = str(end)
    return Answer(body=body)


def mlflow_search(call: Call) -> Answer:
    workspace = call.azure.state.workspace(call.names["w"], call.names["g"], call.names["s"])
    wanted = set(call.body.get("experiment_ids") or [])
    runs = [_as_run(job) for job in (workspace.jobs.values() if workspace else ())]
    return Answer(
        body={"runs": [one for one in runs if not wanted or one["info"]["experiment_id"] in wanted]}
    )


def mlflow_experiment(call: Call) -> Answer:
    name = call.query.get("experiment_name") or call.query.get("experiment_id") or "Default"
    return Answer(
        body={
            "experiment": {
                "experiment_id": name,
                "name": name,
                "artifact_location": "",
                "lifecycle_stage": "active",
            }
        }
    )
