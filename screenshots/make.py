"""Pictures for the README: a real run of the demo, photographed in the real app.

    make screenshots

Trains the demo (a few minutes on two CPU cores) in a folder of its own, and saves each screen as SVG beside this file.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HOME = Path("/tmp/finetui-screenshots")
SIZE = (120, 36)
LONG_S = 900.0


def main() -> None:
    """Make them all."""
    models = os.environ.get("FINETUI_TEST_MODELS")
    shutil.rmtree(HOME / "data", ignore_errors=True)
    os.environ["FINETUI_HOME"] = str(HOME)
    if models and not (HOME / "cache" / "models").exists():
        (HOME / "cache").mkdir(parents=True, mode=0o700)
        (HOME / "cache" / "models").symlink_to(models)
    fetch = [sys.executable, "-P", "-m", "core.catalog.fetch", "smollm2-135m-instruct"]
    subprocess.run(fetch, check=True, stdout=subprocess.DEVNULL)
    work = HOME / "work"
    work.mkdir(exist_ok=True)
    os.chdir(work)  # so that the pictures name files as a user would
    asyncio.run(photograph())


async def photograph() -> None:
    """One app, each screen when it has something to show."""
    from core.data import samples
    from core.runs import supervisor
    from tui.app import FinetuiApp
    from tui.verbs.demo import demo_recipe

    rows = Path(shutil.copy(samples.train_path(), "tidelamp.jsonl"))
    row = await asyncio.to_thread(supervisor.submit, demo_recipe(), Path.cwd())
    app = FinetuiApp(mode="monitor", run=row.id)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: supervisor.get(row.id).step >= 15)
        await pilot.pause(2.0)
        save(app, "monitor")
        await until(pilot, lambda: not supervisor.get(row.id).active)
        await pilot.press("4")
        await pilot.pause(2.0)
        save(app, "runs")
        app.use_data(rows)
        await pilot.pause(4.0)
        save(app, "train")
    app = FinetuiApp(mode="data", file=rows)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(3.0)
        await pilot.press("t")
        await pilot.pause(5.0)
        save(app, "data")
    await photograph_repair()
    app = FinetuiApp(mode="chat", run=row.id)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: bool(getattr(app.screen, "sides", None)))
        await pilot.press(*keys("How long is the warranty on a Tidelamp?"), "enter")
        await until(pilot, lambda: settled(app.screen), 240.0)
        await pilot.press("escape")
        await pilot.pause(0.5)
        save(app, "chat")


async def photograph_repair() -> None:
    """The dialog of repairs on a file with problems, one repair chosen."""
    from textual.widgets import OptionList

    from tui.app import FinetuiApp

    app = FinetuiApp(mode="data", file=write_support(Path("support.jsonl")))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(5.0)
        await pilot.press("r")
        await pilot.pause(1.0)
        offers = app.screen.query_one(OptionList)
        prompts = [str(offers.get_option_at_index(place).prompt) for place in range(offers.option_count)]
        offers.highlighted = next(place for place, words in enumerate(prompts) if "email, " in words)
        await pilot.press("enter")
        await pilot.pause(3.0)
        save(app, "repair")


def write_support(path: Path) -> Path:
    """A file of conversations as they come out of a help desk: addresses, a double, a broken row."""
    rows = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in (
            (
                f"My order {number} has not come. You reach me at kim.{number}@acme.org.",
                f"Order {number} is on its way.",
            )
            for number in [*range(4101, 4131), 4110]
        )
    ]
    lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join([*lines[:20], lines[20][:-30], *lines[21:]]) + "\n")
    return path


def settled(screen: Any) -> bool:
    """Whether the chat has answered and nothing is being written."""
    return not screen.busy and bool(screen.talk.turns)


def keys(text: str) -> list[str]:
    """The key names that type a text."""
    names = {" ": "space", "?": "question_mark"}
    return [names.get(character, character) for character in text]


async def until(pilot: Any, done: Callable[[], bool], limit_s: float = LONG_S) -> None:
    """Let the app live until something is so."""
    for _ in range(int(limit_s)):
        if await asyncio.to_thread(done):
            return
        await pilot.pause(1.0)
    raise TimeoutError("the run did not get there in time; see its worker.log")


def save(app: Any, name: str) -> None:
    """One picture."""
    app.save_screenshot(filename=f"{name}.svg", path=str(HERE))
    print(HERE / f"{name}.svg")  # noqa: T201


if __name__ == "__main__":
    main()
