"""Pictures of the Azure pages: the real app on the loopback Azure, from the checklist to an endpoint.

make screenshots        needs node, for the blob store (`make azurite`)
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # the loopback Azure is among the tests
HOME = Path("/tmp/finetui-screenshots-azure")
SIZE = (120, 36)
LONG_S = 120.0


def main() -> None:
    """Make them all."""
    from tests.azure_emulator import azurite, emulator
    from tests.azure_emulator.state import Settings

    if missing := azurite.missing():
        sys.exit(f"No pictures of Azure: {missing}")
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o700)
    settings = Settings(seconds_per_status=0.3, running_seconds=12.0)
    with emulator.running(settings=settings) as azure:
        own = {"FINETUI_HOME": str(HOME), "FINETUI_AZURE_POLL_S": "0.5"}
        os.environ.update({**azure.environment, **azure.service_principal, **own})
        os.chdir(HOME)
        asyncio.run(photograph())


async def photograph() -> None:
    """One app, from sign-in to an endpoint that is charged."""
    from core.data import samples
    from tui.app import FinetuiApp

    rows = Path(shutil.copy(samples.train_path(), "tidelamp.jsonl"))
    app = FinetuiApp(mode="train")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: getattr(app.screen, "form", None) is not None)
        train = app.screen
        app.use_data(rows)
        await press(pilot, "z")
        await shown(pilot, "Service principal, signed in")
        await shown(pilot, "Azure tells no quota")
        save(app, "azure-checklist")
        await press(pilot, "tab")
        await shown(pilot, "Phi-4-mini-instruct")
        await press(pilot, "j")
        await shown(pilot, "for a million tokens")
        await press(pilot, "enter")
        await until(pilot, lambda: app.screen is train)
        await shown(pilot, "FT Training Tokens")
        save(app, "azure-price")
        await press(pilot, "s")
        await shown(pilot, "Training on")
        await press(pilot, "y")
        await until(pilot, lambda: app.current_mode == "monitor")
        await shown(pilot, "step", LONG_S)
        await pilot.pause(6.0)
        save(app, "azure-monitor")
        await shown(pilot, "d on Runs", LONG_S)
        await press(pilot, "2 z tab tab tab")
        await shown(pilot, "d deploys a tuned model.")
        await press(pilot, "d")
        await shown(pilot, "an hour")
        await press(pilot, *"tidelamp", "enter", "enter")
        await shown(pilot, "Online", LONG_S)
        save(app, "azure-endpoints")


async def press(pilot: Any, *words: str) -> None:
    """Press keys, each word's one after the other."""
    for key in " ".join(words).split():
        await pilot.press(key)
        await pilot.pause(0.3)


async def shown(pilot: Any, text: str, limit_s: float = 60.0) -> None:
    """Wait until the screen shows a text."""
    await until(pilot, lambda: text in screen_text(pilot), limit_s)


def screen_text(pilot: Any) -> str:
    """What the screen shows, a line a row."""
    screen = pilot.app.screen
    return "\n".join("".join(piece.text for piece in strip) for strip in screen._compositor.render_strips())


async def until(pilot: Any, done: Callable[[], bool], limit_s: float = 60.0) -> None:
    """Let the app live until something is so."""
    for _ in range(int(limit_s * 5)):
        if done():
            return
        await pilot.pause(0.2)
    raise TimeoutError(screen_text(pilot))


def save(app: Any, name: str) -> None:
    """One picture."""
    app.save_screenshot(filename=f"{name}.svg", path=str(HERE))
    print(HERE / f"{name}.svg")  # noqa: T201


if __name__ == "__main__":
    main()
