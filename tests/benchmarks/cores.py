"""Training speed with OpenMP's idle threads spinning (its default), sleeping, or spinning briefly as finetui's do.

Alone on the machine, and beside a neighbour that keeps as many threads busy as there are cores.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from itertools import product

ROUNDS = 3
POLICIES = {
    "spin": {},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "brief": {"GOMP_SPINCOUNT": "1000"},
}

TRAIN = """
import time, torch
from transformers import LlamaConfig, LlamaForCausalLM
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=8000, hidden_size=384, intermediate_size=1024,
    num_hidden_layers=12, num_attention_heads=6, num_key_value_heads=3))
ids = torch.randint(0, 8000, (8, 64))
def step():
    model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
step()
started, steps = time.perf_counter(), 0
while time.perf_counter() - started < 6:
    step()
    steps += 1
print(ids.numel() * steps / (time.perf_counter() - started))
"""
BUSY = "while True: pass"


def tokens_per_s(policy: str) -> float:
    """Of one training process of its own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    environment.update(POLICIES[policy])
    done = subprocess.run(
        [sys.executable, "-c", TRAIN], env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def main() -> None:
    """Print tokens/s: median, least and most of each case."""
    found: dict[tuple[str, str], list[float]] = {}
    for _, place, policy in product(range(ROUNDS), ("alone", "shared"), POLICIES):
        neighbours = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
        if place == "alone":
            for neighbour in neighbours:
                neighbour.kill()
        try:
            found.setdefault((place, policy), []).append(tokens_per_s(policy))
        finally:
            for neighbour in neighbours:
                neighbour.kill()
                neighbour.wait()
    for (place, policy), rates in found.items():
        middle = statistics.median(rates)
        print(f"{place:<7} {policy:<6} {middle:6.0f} tokens/s  ({min(rates):.0f} to {max(rates):.0f})")  # noqa: T201
