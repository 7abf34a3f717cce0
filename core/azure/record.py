"""What a run knows of its life in Azure: `azure.json` in its directory, written before each thing is done.

A worker that was killed anywhere finds here under which name its job would be, so that it can never make a second.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from core import paths
from core.azure import account as accounts
from core.azure.account import Account
from core.azure.faults import AzureError
from core.paths import write_private

NAME = "azure.json"


@dataclass(frozen=True)
class Record:
    """One run in Azure. Nothing in it is secret.

    Args:
        run: the run's id.
        token: some characters drawn once, so that two machines' runs of the same id are two jobs.
        account: where the job is, whatever account is chosen later.
        attempt: which job of the run it is; a new one only after one that has failed or was cancelled.
        job: its name.
        base: versioned registry id of the base model; empty until it is known.
        output: name the tuned model is registered under.
        training: ARM id of the data asset; empty until it is uploaded.
        validation: the same, or empty.
        rows: to train on.
        validation_rows: to measure on.
        submitted: whether Azure has been told of the job; it may have the job without this, never the reverse.
        studio: address of the job's page.
        status: the last one seen.
        registered: `name:version` of the tuned model; empty until Azure has it, and once finetui has deleted it.
        deleted: the same of the one that finetui has deleted, or empty.
    """

    run: str
    token: str
    account: Account
    attempt: int = 1
    job: str = ""
    base: str = ""
    output: str = ""
    training: str = ""
    validation: str = ""
    rows: int = 0
    validation_rows: int = 0
    submitted: bool = False
    studio: str = ""
    status: str = ""
    registered: str = ""
    deleted: str = ""

    def again(self) -> Record:
        """The record of the run's next job, with the same rows."""
        number = self.attempt + 1
        return replace(
            self,
            attempt=number,
            job=job_name(self.run, self.token, number),
            output=f"{self.output.removesuffix(f'-{self.attempt}')}-{number}",
            submitted=False,
            studio="",
            status="",
        )


def job_name(run_id: str, token: str, attempt: int = 1) -> str:
    """The name of a run's job."""
    return f"finetui-{run_id}-{token}" + (f"-{attempt}" if attempt > 1 else "")


def begin(run_id: str, title: str, account: Account) -> Record:
    """The record of a run that Azure has not heard of.

    Args:
        run_id: of the run.
        title: its name; the tuned model's name is made from it.
        account: where it is to be trained.
    """
    token = secrets.token_hex(3)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40].strip("-") or "model"
    return Record(run_id, token, account, job=job_name(run_id, token), output=f"{words}-{token}")


def read(directory: Path) -> Record | None:
    """The record of a run's directory, or None before there is one.

    Raises:
        AzureError: it is damaged.
    """
    path = directory / NAME
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(Record)}
        content["account"] = accounts.of(content["account"])
        return Record(**{name: value for name, value in content.items() if name in known})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AzureError(
            f"{path} can't be read.",
            f"{type(error).__name__}: {error}",
            "`finetui azure jobs` lists the jobs; `finetui azure attach JOB` makes a run of one anew.",
        ) from error


def write(directory: Path, record: Record) -> Record:
    """Write it down, whole and synced; returns it."""
    write_private(directory / NAME, json.dumps(asdict(record), indent=2).encode() + b"\n")
    return record


def tell_deleted(account: Account, model: str) -> None:
    """Write down with the runs of this machine, those in the trash too, that their model in Azure is gone.

    Args:
        account: whose project it was in.
        model: its `name:version`.
    """
    for parent in (paths.runs_dir(), paths.trash_dir()):
        for path in parent.glob(f"*/{NAME}"):
            try:
                found = read(path.parent)
            except AzureError:  # damaged: it names no model any more
                continue
            if found is None or found.registered != model:
                continue
            if found.account.workspace.lower() == account.workspace.lower():
                write(path.parent, replace(found, registered="", deleted=model))
