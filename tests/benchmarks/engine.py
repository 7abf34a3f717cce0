"""Training speed and memory beside TRL's, on the same rows with the same template, in one go.

    FINETUI_TRL_PYTHON=/path/to/venv/bin/python FINETUI_BENCH_DATA=chat.jsonl python -m tests.benchmarks engine

TRL runs in an environment of its own, by a script that prints one JSON line (`FINETUI_TRL_SCRIPT MODEL DATA ROWS
VARIANT`). Useful tokens are those of the rows one by one; a pair whose numbers of them differ is void.
"""

from __future__ import annotations

import csv
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
SHORT = Path(os.environ.get("FINETUI_BENCH_SHORT", SHARED / "data" / "yelp_sentiment.csv"))
"""Short texts with a label each: what a long instruction is usually for."""
VARIANTS = os.environ.get("FINETUI_TRL_VARIANTS", "packed512 packed1024 grouped padded").split()
SENTENCE = (
    "You answer questions about the shop's orders. Be brief and kind, never promise a date, and name the form that "
    "the customer has to fill in. "
)
INSTRUCTION = SENTENCE * 4
"""About 120 tokens."""


def main() -> None:
    """Rows as they are, then rows that share an instruction."""
    model = cached(resolve("smollm2-135m-instruct"))
    if model is None or not DATA.exists() or not SHORT.exists():
        say(f"needs smollm2-135m-instruct on this machine (`make demo`), {DATA} and {SHORT}")
        return
    with tempfile.TemporaryDirectory() as folder:
        own = conversations()
        plain = write(Path(folder) / "plain.jsonl", own)
        say("rows without common beginnings")
        _compare(model, plain, 24, VARIANTS)
        say("short rows that share an instruction of 120 tokens")
        _compare(model, write(Path(folder) / "short.jsonl", _instructed(_labelled())), 48, VARIANTS)
        say("rows of 200 tokens that share an instruction of 120 more")
        _compare(model, write(Path(folder) / "shared.jsonl", _instructed(own)), 48, VARIANTS[:1])


Conversation = list[dict[str, str]]


def conversations() -> list[Conversation]:
    """The first rows of the data."""
    lines = DATA.read_text(encoding="utf-8-sig").splitlines()[:80]
    return [json.loads(line)["messages"] for line in lines]


def _labelled() -> list[Conversation]:
    """Each text as a question, its label as the answer."""
    with SHORT.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))[1:81]
    return [
        [{"role": "user", "content": text}, {"role": "assistant", "content": label}] for text, label in rows
    ]


def _instructed(conversations: list[Conversation]) -> list[Conversation]:
    """In place of their own system turn, the instruction."""
    system = {"role": "system", "content": INSTRUCTION.strip()}
    return [[system, *(turn for turn in item if turn["role"] != "system")] for item in conversations]


def joined(conversations: list[Conversation], tokens: int) -> list[Conversation]:
    """Conversations one after the other, so many that each row has at least that many tokens."""
    rows: list[Conversation] = [[]]
    for item in conversations * (1 + tokens // 64):
        rows[-1] += item
        if sum(len(turn["content"]) for turn in rows[-1]) > 6 * tokens:
            rows.append([])
    return rows[:-1]


def write(path: Path, conversations: list[Conversation]) -> Path:
    """A chat file of them."""
    path.write_text("\n".join(json.dumps({"messages": item}) for item in conversations) + "\n")
    return path


def _compare(model: Path, data: Path, rows: int, variants: list[str]) -> None:
    own = train(model, data, rows)
    _show("finetui", own)
    python = os.environ.get("FINETUI_TRL_PYTHON")
    if python is None or not SCRIPT.exists():
        say("TRL: not run (set FINETUI_TRL_PYTHON to a Python that has it)")
        return
    best = 0.0
    for variant in variants:
        theirs = _json([python, str(SCRIPT), str(model), str(data), str(rows), variant])
        void = "" if theirs["real_tokens"] == own["real_tokens"] else "  VOID: other tokens"
        _show(f"TRL {variant}", theirs, void)
        best = max(best, theirs["useful_tok_per_s"])
    say(f"{own['useful_tok_per_s'] / best:.2f} times TRL's best")


def train(model: Path, data: Path, rows: int, budget: int = 1024, length: int = 2048) -> dict[str, Any]:
    """What `tests.benchmarks.training` finds in a process of its own."""
    command = [sys.executable, "-P", "-m", "tests.benchmarks.training"]
    numbers = {"rows": rows, "budget": budget, "length": length}
    named = {"model": model, "data": data, **numbers}
    return _json([*command, *(word for name, value in named.items() for word in (f"--{name}", str(value)))])


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(name: str, found: dict[str, Any], more: str = "") -> None:
    share = f"{found['share_of_limit']:.2f} of the limit" if "share_of_limit" in found else ""
    computed = f"{found['computed_tok_per_s']:.0f} computed/s" if "computed_tok_per_s" in found else ""
    say(
        f"{name:<14} {found['real_tokens']:6} tokens {found['useful_tok_per_s']:6.0f} useful/s {computed:<15} "
        f"{found['peak_rss_mb']:6} MB  {share}{more}"
    )


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
