"""A data asset of the project as a recipe's rows: looked at, refused where it can't be, trained on where it lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from core.azure import assets, data
from core.azure.account import load
from core.azure.clients import Azure
from core.azure.faults import AzureError
from core.azure.rows import RowFile
from core.backends import get
from core.events import Evaluated, Failed, Finished, Status, Uploaded
from core.recipe import Recipe
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.conftest import ROWS
from tests.core.azure.support import of, record

REF = "azureml:questions:3"


def put(azure: Emulator, ref: str = REF, text: str = "", kind: str = "uri_file", uri: str = "") -> None:
    """A data asset as somebody else has made it, with its blob."""
    _, name, version = ref.split(":")
    text = text or "".join(json.dumps(row) + "\n" for row in ROWS)
    path = f"UI/{name}-{version}.jsonl"
    assert azure.blobs is not None
    azure.blobs.container(azure.project.container).upload_blob(path, text.encode(), overwrite=True)
    ready = f"azureml:/{azure.project.arm_id}/datastores/workspaceblobstore/paths/{path}"
    with azure.state.lock:
        azure.project.data.setdefault(name, {})[version] = {
            "id": f"{azure.project.arm_id}/data/{name}/versions/{version}",
            "name": version,
            "type": "Microsoft.MachineLearningServices/workspaces/data/versions",
            "properties": {"dataType": kind, "dataUri": uri or ready, "description": "by hand", "tags": {}},
            "systemData": azure.state.system_data(),
        }


def test_the_projects_assets_are_listed_whoever_made_them(
    azure: Emulator, clients: Azure, rows: Path
) -> None:
    put(azure)
    put(azure, "azureml:folder:1", kind="uri_folder")
    content = rows.read_bytes()
    data.ensure(clients, RowFile(rows, len(ROWS), len(content), "ab" * 32), "run-1", lambda *_: None)
    found = {item.ref: item for item in assets.listed(clients)}
    own = f"azureml:{data.name_of('ab' * 32)}:1"
    assert set(found) == {REF, "azureml:folder:1", own}
    assert (found[REF].kind, found[REF].description, found[REF].run) == ("uri_file", "by hand", "")
    assert found[own].run == "run-1"
    assert found[REF].created > 0


def test_of_many_assets_only_the_newest_are_asked_about(
    azure: Emulator, clients: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "MOST_DETAILED", 1)
    put(azure, "azureml:older:1")
    put(azure, "azureml:newer:2")
    newer, older = assets.listed(clients)
    assert (newer.ref, older.ref) == ("azureml:newer:2", "azureml:older:1")
    assert (newer.description, older.description) == ("by hand", "")
    assert older.kind == "uri_file"
    assert older.created > 0


def test_looking_counts_and_checks_the_rows_and_keeps_them(azure: Emulator, clients: Azure) -> None:
    bad = {"messages": [{"role": "user", "content": "and?"}]}
    put(azure, text="".join(json.dumps(row) + "\n" for row in [*ROWS, bad]))
    looked = assets.look(clients, REF, "chat")
    assert (looked.rows, looked.why) == (13, "")
    [(line, why)] = looked.faults
    assert line == 13
    assert "assistant" in why
    assert looked.file == assets.kept(load(), REF)
    assert looked.file.stat().st_mode & 0o077 == 0
    azure.faults.add("CONNECT blob", kind="reset", times=100)
    assert assets.look(clients, REF, "chat").rows == 13  # a version never changes: asked for once


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("azureml:nothing:1", "no data asset azureml:nothing:1"),
        ("azureml:questions:9", "no data asset azureml:questions:9"),
        ("azureml:folder:1", "is a uri_folder"),
        ("questions", "names no data asset"),
    ],
)
def test_what_is_no_file_of_rows_is_refused(azure: Emulator, clients: Azure, ref: str, said: str) -> None:
    put(azure)
    put(azure, "azureml:folder:1", kind="uri_folder")
    with pytest.raises(AzureError, match=said) as refused:
        assets.look(clients, ref, "chat")
    assert refused.value.next_step


def test_rows_that_lie_elsewhere_are_azures_alone(azure: Emulator, clients: Azure) -> None:
    put(azure, uri="https://elsewhere.blob.core.windows.net/c/rows.jsonl")
    looked = assets.look(clients, REF, "chat")
    assert (looked.file, looked.rows) == (None, 0)
    assert "outside" in looked.why


def test_a_job_reads_the_asset_where_it_lies(
    azure: Emulator, recipe: Callable[..., Recipe], rows: Path
) -> None:
    put(azure)
    wanted = recipe(data=REF, validation=str(rows), validation_fraction=None)
    run = RunDirectory.create(wanted, "tone")
    assert worker.run(run.path) == 0
    body = next(body for method, path, _, body in azure.requests if method == "PUT" and "/jobs/" in path)
    tuning = body["properties"]["fineTuningDetails"]
    assert tuning["trainingData"]["uri"].endswith("/data/questions/versions/3")
    assert tuning["validationData"]["uri"].endswith("/versions/1")
    assert [item.name for item in of(run, Uploaded)] == ["validation.jsonl"]
    assert any("nothing is uploaded" in item.text for item in of(run, Status))
    assert (record(run).rows, record(run).validation_rows) == (12, 12)
    assert of(run, Finished)
    assert {item.rows for item in of(run, Evaluated)} == {12}


def test_rows_of_ones_own_are_measured_on_an_asset(azure: Emulator, recipe: Callable[..., Recipe]) -> None:
    put(azure)
    run = RunDirectory.create(recipe(validation=REF, validation_fraction=None), "tone")
    assert worker.run(run.path) == 0
    assert [item.name for item in of(run, Uploaded)] == ["train.jsonl"]
    assert record(run).validation.endswith("/data/questions/versions/3")


def test_an_asset_with_rows_that_can_not_be_used_is_refused_before_a_job(
    azure: Emulator, recipe: Callable[..., Recipe]
) -> None:
    put(azure, text='{"messages": [{"role": "user", "content": "and?"}]}\nno json\n')
    run = RunDirectory.create(recipe(data=REF, validation_fraction=None), "tone")
    assert worker.run(run.path) == 2
    failed = of(run, Failed)[-1]
    assert f"2 of 2 rows of {REF}" in failed.what
    assert "line 2" in failed.cause
    assert not any(method == "PUT" for method, *_ in azure.requests)


def test_once_looked_at_it_is_counted_and_priced(
    azure: Emulator, clients: Azure, recipe: Callable[..., Recipe]
) -> None:
    put(azure)
    wanted = recipe(data=REF, validation_fraction=None)
    before = get("azure").check(wanted)
    assert before.errors == []
    assert before.remote is None
    assert any(f"finetui azure data {REF}" in item.fix for item in before.problems)
    assets.look(clients, REF, "chat")
    after = get("azure").check(wanted)
    assert after.remote is not None
    assert (after.remote.rows, after.remote.tokens > 0) == (12, True)
    assert not any(REF in item.sentence for item in after.problems)
