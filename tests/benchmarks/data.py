"""Reading, checking and searching a file of 1.2 GB and 2 million rows, beside what other tools do with it.

Each part runs in a process of its own, after a first go over a few rows. MB/s is by the clock and counts the bytes it
looked at; memory is the most that the process and its children had at once (proportional set size).
"""

from __future__ import annotations

import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from core.data.conversation import Conversation
from core.data.measuring import Measure, measure_many
from core.data.rows import read_rows
from core.data.samples import train_path

ROUNDS = 5
ROWS = int(os.environ.get("FINETUI_BENCH_ROWS", "2000000"))
SMALL_BYTES = 24_000_000
"""Of the file's beginning, for what takes minutes: near duplicates and tokens."""


def make(path: Path, rows: int) -> None:
    """Rows of three turns, all different; one in a thousand has an e-mail address."""
    rng = random.Random(0)
    turns = [
        turn.content
        for row in read_rows(train_path())
        if isinstance(row, Conversation)
        for turn in row.messages
    ]
    words = " ".join(turns).split()
    texts = [" ".join(rng.choices(words, k=rng.randint(16, 60))) for _ in range(4000)]
    with path.open("w") as file:
        for row in range(rows):
            one, two, three = texts[row % 4000], texts[row * 7 % 3989], texts[row * 13 % 3967]
            address = f" b{row}@acme.org" if row % 1000 == 0 else ""
            file.write(
                f'{{"messages":[{{"role":"system","content":"You answer for a shop."}},'
                f'{{"role":"user","content":"Order {row}: {one}{address}"}},'
                f'{{"role":"assistant","content":"{two} {row % 97}. {three[:60]}"}}]}}\n'
            )


# The parts: each returns the bytes it looked at, and what it found


def read(path: Path) -> tuple[int, str]:
    """Nothing but reading."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass
    return path.stat().st_size, ""


def wc(path: Path) -> tuple[int, str]:
    found = subprocess.run(["wc", "-l", str(path)], capture_output=True, text=True, check=True)
    return path.stat().st_size, f"{found.stdout.split()[0]} lines"


def toolong(path: Path) -> tuple[int, str]:
    """toolong's method: line ends looked for backwards in a memory map."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        position, lines = mapped.size(), 0
        while (position := mapped.rfind(b"\n", 0, position)) != -1:
            lines += 1
    return path.stat().st_size, f"{lines} lines"


def datasets_json(path: Path) -> tuple[int, str]:
    from datasets import load_dataset  # type: ignore[import-not-found,unused-ignore]

    with tempfile.TemporaryDirectory() as cache:
        rows = load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        return path.stat().st_size, f"{len(rows)} rows"


def index(path: Path) -> tuple[int, str]:
    from core.data.index import LineIndex

    found = LineIndex(path)
    found.scan()
    return path.stat().st_size, f"{len(found)} rows"


def _check(path: Path, *tiers: str) -> tuple[int, str]:
    from core.data.check import Check, Options

    folder = Path(os.environ["FINETUI_BENCH_MODEL"]) if "tokens" in tiers else None
    check = Check(path, Options(frozenset(tiers), folder, full=True))  # type: ignore[arg-type]
    found = sum(1 for _ in check)
    shares = ", ".join(f"{name} {part['seconds']:.1f} s" for name, part in check.tiers.items())
    return check.bytes_read, f"{found} problems; {shares}"


def structure(path: Path) -> tuple[int, str]:
    return _check(path, "structure")


def text(path: Path) -> tuple[int, str]:
    return _check(path, "structure", "text")


def near(path: Path) -> tuple[int, str]:
    return _check(path, "structure", "near")


def tokens(path: Path) -> tuple[int, str]:
    """The tokens tier (template, tokens, mask, cut) and `encode_batch` on the same texts alone, in turn."""
    from core.data.rendering import Renderer

    renderer = Renderer.from_folder(Path(os.environ["FINETUI_BENCH_MODEL"]))
    rows = [row for row in read_rows(path) if isinstance(row, Conversation)]
    texts = [renderer.lay_out(row).text for row in rows]
    alone, tier = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for place in range(0, len(texts), 256):
            renderer.encode_many(texts[place : place + 256])
        alone.append(time.perf_counter() - started)
        started = time.perf_counter()
        found = list(measure_many(renderer, rows))
        tier.append(time.perf_counter() - started)
    total = sum(item.tokens for item in found if isinstance(item, Measure))
    ratio = statistics.median(one / other for one, other in zip(tier, alone, strict=True))
    size = path.stat().st_size
    return -1, (
        f"{statistics.median(tier):.4f} {total} tokens; tokenizers alone "
        f"{size / 1e6 / statistics.median(alone):.0f} MB/s; {ratio:.2f} times its time"
    )


def _filter(path: Path, words: str) -> tuple[int, str]:
    from core.data.filter import Filter
    from core.data.query import parse

    found = sum(map(len, Filter(path, parse(words)).rows()))
    return path.stat().st_size, f"{words}: {found} rows"


def filter_text(path: Path) -> tuple[int, str]:
    return _filter(path, "b1999000@acme.org")


def filter_pattern(path: Path) -> tuple[int, str]:
    return _filter(path, r"/Order 1\d{3}9:/")


def filter_turns(path: Path) -> tuple[int, str]:
    return _filter(path, "role:tool or chars<300")


def warm_up(part: Callable[[Path], tuple[int, str]]) -> None:
    """Run a part over a few rows, so that imports are not in the clock."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "few.jsonl"
        make(path, 8)
        part(path)


LARGE: tuple[Callable[[Path], tuple[int, str]], ...] = (
    read, wc, toolong, datasets_json, index, structure, text, filter_text, filter_pattern, filter_turns,
)  # fmt: skip
SMALL: tuple[Callable[[Path], tuple[int, str]], ...] = (near, tokens)
PARTS = {part.__name__: part for part in (*LARGE, *SMALL)}


def main() -> None:
    """Make the file, run the parts one after the other, print a line each."""
    with tempfile.TemporaryDirectory(prefix="finetui-bench-") as folder:
        path, small = Path(folder) / "rows.jsonl", Path(folder) / "small.jsonl"
        make(path, ROWS)
        make(small, SMALL_BYTES // 600)
        os.environ["FINETUI_BENCH_MODEL"] = str(_model(Path(folder)))
        _say(f"{path.stat().st_size / 1e6:,.0f} MB, {ROWS:,} rows; {os.cpu_count()} cores")
        for part in LARGE:
            if part is datasets_json and find_spec("datasets") is None:
                _say("datasets.load_dataset   not installed (pip install -e '.[bench]')")
                continue
            _run(part.__name__, path)
        _say(f"the first {small.stat().st_size / 1e6:,.0f} MB")
        for part in SMALL:
            _run(part.__name__, small)


def _model(folder: Path) -> Path:
    """A real tokenizer where there is one, else one trained on the spot."""
    from core.catalog.reference import cached, resolve

    found = cached(resolve("smollm2-135m-instruct"))
    if found is not None:
        return found
    from tests.core.data.conftest import FAMILIES, TEMPLATES, write_model

    family = FAMILIES["smollm2"]
    return write_model(folder / "model", family, (TEMPLATES / family["file"]).read_text())


def _run(name: str, path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.benchmarks.data", name, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    most = 0
    while child.poll() is None:
        most = max(most, _tree_bytes(child.pid))
        time.sleep(0.1)
    assert child.stdout is not None
    answer = json.loads(child.stdout.read())
    seconds, size, found = answer["seconds"], answer["bytes"], answer["found"]
    if size < 0:  # it took its own time
        own, _, found = found.partition(" ")
        seconds, size = float(own), path.stat().st_size
    _say(f"{name:<18} {size / 1e6 / seconds:8,.0f} MB/s {seconds:7.2f} s {most / 1e6:7,.0f} MB   {found}")


def _tree_bytes(pid: int) -> int:
    """Proportional set size of a process and its children; what has just ended counts nothing."""
    total = 0
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total = next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, StopIteration):
        return total
    return total + sum(_tree_bytes(int(child)) for child in children)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    chosen = PARTS[sys.argv[1]]
    warm_up(chosen)
    begun = time.perf_counter()
    looked_at, told = chosen(Path(sys.argv[2]))
    _say(json.dumps({"seconds": time.perf_counter() - begun, "bytes": looked_at, "found": told}))
