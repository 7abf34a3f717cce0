"""Training speed and memory beside TRL's, on the same rows with the same template, in one go.

    FINETUI_TRL_PYTHON=/path/to/venv/bin/python FINETUI_BENCH_DATA=chat.jsonl python -m tests.benchmarks engine

TRL runs in an environment of its own, by a script that prints one JSON line (`FINETUI_TRL_SCRIPT MODEL DATA ROWS
VARIANT`). Useful tokens are those of the rows one by one; a pair whose numbers of them differ is void.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.catalog.reference import cached, resolve

SHARED = Path(__file__).parents[3] / "shared"
SCRIPT = Path(os.environ.get("FINETUI_TRL_SCRIPT", SHARED / "bench" / "trl_baseline.py"))
DATA = Path(os.environ.get("FINETUI_BENCH_DATA", SHARED / "data" / "azure_chat_train.jsonl"))
VARIANTS = os.environ.get("FINETUI_TRL_VARIANTS", "packed512 packed1024 grouped padded").split()
SENTENCE = (
    "You answer questions about the shop's orders. Be brief and kind, never promise a date, and name the form that "
    "the customer has to fill in. "
)
INSTRUCTION = SENTENCE * 4
"""About 120 tokens."""


def main() -> None:
    """Rows as they are, then rows that share an instruction, then more and more rows."""
    model = cached(resolve("smollm2-135m-instruct"))
    if model is None or not DATA.exists():
        _say(f"needs smollm2-135m-instruct on this machine (`make demo`) and {DATA}")
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = _write(Path(folder) / "plain.jsonl", "", 80)
        shared = _write(Path(folder) / "shared.jsonl", INSTRUCTION, 80)
        _say("rows without common beginnings")
        _compare(model, plain, 24)
        _say("rows that share an instruction of 120 tokens")
        _compare(model, shared, 48)
        _say("growing work: rows, then tokens at once")
        for rows in (8, 16, 32, 64):
            _show(f"{rows} rows", _own(model, plain, rows, 1024))
        for budget in (256, 512, 1024, 2048):
            _show(f"{budget} at once", _own(model, plain, 24, budget))


def _write(path: Path, instruction: str, count: int) -> Path:
    """The first rows of the data, in place of their own system turn the instruction if there is one."""
    lines = []
    for line in DATA.read_text(encoding="utf-8-sig").splitlines()[:count]:
        messages = json.loads(line)["messages"]
        if instruction:
            rest = [turn for turn in messages if turn["role"] != "system"]
            messages = [{"role": "system", "content": instruction.strip()}, *rest]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines) + "\n")
    return path


def _compare(model: Path, data: Path, rows: int) -> None:
    own = _own(model, data, rows, 1024)
    _show("finetui", own)
    python = os.environ.get("FINETUI_TRL_PYTHON")
    if python is None or not SCRIPT.exists():
        _say("TRL: not run (set FINETUI_TRL_PYTHON to a Python that has it)")
        return
    best = 0.0
    for variant in VARIANTS:
        theirs = _json([python, str(SCRIPT), str(model), str(data), str(rows), variant])
        void = "" if theirs["real_tokens"] == own["real_tokens"] else "  VOID: other tokens"
        _show(f"TRL {variant}", theirs, void)
        best = max(best, theirs["useful_tok_per_s"])
    _say(f"{own['useful_tok_per_s'] / best:.2f} times TRL's best")


def _own(model: Path, data: Path, rows: int, budget: int) -> dict[str, Any]:
    command = [
        sys.executable,
        "-P",
        "-m",
        "tests.benchmarks.training",
        "--model",
        str(model),
        "--data",
        str(data),
    ]
    return _json([*command, "--rows", str(rows), "--budget", str(budget)])


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(name: str, found: dict[str, Any], more: str = "") -> None:
    share = f"{found['share_of_limit']:.2f} of the limit" if "share_of_limit" in found else ""
    computed = f"{found['computed_tok_per_s']:.0f} computed/s" if "computed_tok_per_s" in found else ""
    _say(
        f"{name:<14} {found['real_tokens']:6} tokens {found['useful_tok_per_s']:6.0f} useful/s {computed:<15} "
        f"{found['peak_rss_mb']:6} MB  {share}{more}"
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
