"""A resumed run whose rows are no more in Azure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.azure import data
from core.azure.clients import Azure
from core.events import Uploaded
from core.runs import worker
from core.runs.directory import RunDirectory
from tests.azure_emulator.emulator import Emulator
from tests.core.azure.support import of, record

NewRun = Callable[..., RunDirectory]


@pytest.mark.parametrize("copy_kept", [True, False])
def test_a_resumed_run_sends_the_rows_again_that_a_clean_up_has_deleted(
    new_run: NewRun, azure: Emulator, clients: Azure, copy_kept: bool
) -> None:
    azure.settings.job_ending = "Failed"
    run = new_run()
    assert worker.run(run.path) == 2
    first, sent = record(run), len(of(run, Uploaded))
    for asset in data.assets(clients):
        data.delete(clients, asset.name, asset.version)
    if not copy_kept:
        (run.path / "data" / "validation.jsonl").unlink()
    azure.settings.job_ending = "Completed"
    assert worker.run(run.path) == 0
    assert len(of(run, Uploaded)) == 2 * sent == 4
    assert (record(run).training, record(run).validation) == (first.training, first.validation)
    assert {asset.id for asset in data.assets(clients)} == {first.training, first.validation}
