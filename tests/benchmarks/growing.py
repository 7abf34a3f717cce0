"""Training speed and memory as the work grows: more rows, longer rows, more tokens at once.

    FINETUI_BENCH_DATA=chat.jsonl python -m tests.benchmarks growing

Each line is one epoch in a process of its own (`tests.benchmarks.training`). On two quiet cores it takes some nine
minutes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from core.catalog.reference import cached, resolve
from tests.benchmarks.engine import DATA, conversations, joined, say, train, write

ROWS = 8
TIMES = (1, 2, 4, 8)
LENGTHS = (256, 512, 1024, 2048)
BUDGETS = (256, 512, 1024, 2048, 4096)
TOKENS = 6144
"""Of each line with rows of one length."""


def main() -> None:
    """Print the table."""
    model = cached(resolve("smollm2-135m-instruct"))
    if model is None or not DATA.exists():
        say(f"needs smollm2-135m-instruct on this machine (`make demo`) and {DATA}")
        return
    say("| work | tokens | useful/s | computed/s | memory | of the limit | seconds |")
    say("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        rows = conversations()
        plain = write(Path(folder) / "plain.jsonl", rows)
        for times in TIMES:
            _line(f"{times * ROWS} rows", model, plain, times * ROWS)
        for length in LENGTHS:
            long = write(Path(folder) / f"{length}.jsonl", joined(rows, length))
            _line(f"rows of {length}", model, long, TOKENS // length, length=length)
        for budget in BUDGETS:
            _line(f"24 rows, {budget} at once", model, plain, 24, budget)


def _line(name: str, model: Path, data: Path, rows: int, budget: int = 1024, length: int = 2048) -> None:
    found = train(model, data, rows, budget, length)
    say(
        f"| {name} | {found['real_tokens']} | {found['useful_tok_per_s']:.0f} | {found['computed_tok_per_s']:.0f} "
        f"| {found['peak_rss_mb'] / 1000:.1f} GB | {found['share_of_limit']:.2f} | {found['seconds']:.0f} |"
    )
