"""What a job has measured: its MLflow history over plain REST, for which no package of MLflow's is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from core.azure.clients import Azure
from core.azure.faults import asking

MOST = "25000"
LOSS = ("loss", "train_loss", "training_loss")
EVAL_LOSS = ("eval_loss", "validation_loss", "valid_loss", "val_loss")
"""The names that trainers give the two; the first that a job has is taken."""
OTHERS = ("learning_rate", "grad_norm", "epoch")
SUMS = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")


@dataclass(frozen=True)
class Point:
    """One value of a metric; `time` in UTC seconds."""

    step: int
    value: float
    time: float


def tracking_address(uri: str) -> str:
    """The HTTPS address behind a project's `azureml://` tracking URI; its second version is the one in use."""
    address = "https://" + uri.partition("://")[2].rstrip("/")
    return address.replace("/mlflow/v1.0/", "/mlflow/v2.0/")


class History:
    """The metrics of one job.

    Args:
        azure: the account.
        tracking_uri: of the project.
        job: the job's name, which is its run's id.
    """

    def __init__(self, azure: Azure, tracking_uri: str, job: str) -> None:
        self._azure = azure
        self._address = f"{tracking_address(tracking_uri)}/api/2.0/mlflow"
        self._job = job

    def latest(self) -> dict[str, Point]:
        """The newest value of each metric, by name; empty before the job has measured anything.

        Raises:
            AzureError: the history can't be had.
        """
        from azure.core.exceptions import ResourceNotFoundError

        with asking("The job's metrics"):
            try:
                answer = self._azure.get(f"{self._address}/runs/get", run_id=self._job, run_uuid=self._job)
            except ResourceNotFoundError:  # the history begins when the job does
                return {}
        data = (answer.get("run") or {}).get("data") or {}
        return {str(item["key"]): _point(item) for item in data.get("metrics") or ()}

    def series(self, key: str) -> list[Point]:
        """Every value of a metric, by step; of a step measured twice, the later one.

        Raises:
            AzureError: the history can't be had.
        """
        points: dict[int, Point] = {}
        token = ""
        while True:
            more = {"page_token": token} if token else {}
            with asking(f"The job's {key}"):
                answer = self._azure.get(
                    f"{self._address}/metrics/get-history",
                    run_id=self._job,
                    run_uuid=self._job,
                    metric_key=quote(key, safe=""),
                    max_results=MOST,
                    **more,
                )
            for item in answer.get("metrics") or ():
                point = _point(item)
                points[point.step] = point
            token = str(answer.get("next_page_token") or "")
            if not token:
                return [points[step] for step in sorted(points)]


def chosen(names: tuple[str, ...], there: dict[str, Any]) -> str:
    """The first of some names that a job has, or empty."""
    return next((name for name in names if name in there), "")


def _point(item: dict[str, Any]) -> Point:
    value = item.get("value")
    number = float(value) if isinstance(value, int | float | str) else math.nan
    return Point(int(item.get("step") or 0), number, float(item.get("timestamp") or 0) / 1000)
