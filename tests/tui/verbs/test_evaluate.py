"""`finetui evaluate`: figures on stdout, progress on stderr, the report kept, mistakes told; all with a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.runs.directory import RunDirectory
from tests.core.training import tiny
from tests.core.training.exported import make_run, save_adapter
from tests.tui.verbs.conftest import Finetui


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "model")


@pytest.fixture
def run(tiny_model: Path, adapter: Path) -> RunDirectory:
    return make_run(tiny_model, adapter, checkpoint=adapter)


def test_a_run_s_figures_and_its_report(finetui: Finetui, run: RunDirectory) -> None:
    before = json.loads(run.report_path.read_text())
    told = finetui("evaluate", "lamp", "--max-tokens", 4, "--rows", 3)
    assert told.exit_code == 0, told.stderr
    table = [line.split() for line in told.stdout.splitlines()]
    assert ["base", "tuned", "change"] in table
    assert "3 of 6 validation rows, held.jsonl (sha256" in told.stdout
    for phase in (
        "loading base and tuned model ...",
        "asking base and tuned  0 of 3 ...",
        "sampling replies",
    ):
        assert phase in told.stderr
    written = json.loads(run.report_path.read_text())
    found = written.pop("evaluation")
    assert written == before
    assert [words for words in table if words[:1] == ["loss"]] == [
        ["loss", f"{found['base']['loss']:.4f}", f"{found['tuned']['loss']:.4f}", _change(found)]
    ]


def _change(found: dict[str, dict[str, float]]) -> str:
    return f"{found['tuned']['loss'] - found['base']['loss']:+.4f}"


@pytest.mark.slow
def test_json_of_a_checkpoint_on_other_rows(finetui: Finetui, run: RunDirectory, tmp_path: Path) -> None:
    rows = tiny.make_rows(tmp_path / "other.jsonl", 4, seed=9)
    told = finetui("evaluate", run.id, "--data", rows, "--checkpoint", 5, "--max-tokens", 4, "--json")
    found = json.loads(told.stdout)
    assert (found["checkpoint"], found["model"], found["data"]["kind"]) == (5, "checkpoints/step-5", "file")
    assert found["data"]["files"][0]["title"] == str(rows)
    assert found == json.loads(run.report_path.read_text())["evaluation"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonesuch",), "no run 'nonesuch'"),
        (("lamp", "--checkpoint", 9), "no checkpoint of step 9"),
        (("lamp", "--data", "gone.jsonl"), "gone.jsonl"),
    ],
)
def test_mistakes(finetui: Finetui, run: RunDirectory, words: tuple[object, ...], said: str) -> None:
    before = run.report_path.read_bytes()
    told = finetui("evaluate", *words)
    assert (told.exit_code, told.stdout) == (2, "")
    assert said in told.stderr and "  Next: " in told.stderr
    assert run.report_path.read_bytes() == before


@pytest.mark.slow
def test_the_command_s_own_process_imports_nothing_heavy(run: RunDirectory) -> None:
    code = (
        "import sys\nfrom tui.cli import build\n"
        "try: build()(['evaluate', 'lamp', '--max-tokens', '2', '--rows', '2'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = ('torch', 'transformers', 'peft', 'sklearn', 'tokenizers')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
