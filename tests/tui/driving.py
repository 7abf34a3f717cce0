"""Driving the app in tests: wait for what should happen, read what is on the screen, a tiny model folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIES = 1500


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str = "") -> None:
    """Let the app work until a condition holds; fails when it never does."""
    for _ in range(TRIES):
        await pilot.pause(0.02)
        if condition():
            return
    raise AssertionError(f"never came: {what}\n{screen_text(pilot)}")


def screen_text(pilot: Pilot[Any]) -> str:
    """The characters on the screen; none of a screen that is not laid out yet."""
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in lines)


async def shown(pilot: Pilot[Any], text: str) -> None:
    """Wait until a text is on the screen."""
    await until(pilot, lambda: text in screen_text(pilot), text)


async def press(pilot: Pilot[Any], keys: str) -> None:
    """Press keys, apart by spaces."""
    await pilot.press(*keys.split())
    await pilot.pause()


async def type_text(pilot: Pilot[Any], text: str) -> None:
    """Fill the focused field; the last two characters are typed by keys."""
    field: Any = pilot.app.focused
    field.value = text[:-2]
    field.action_end()
    names = {"/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", " ": "space", ",": "comma"}
    await pilot.press(*(names.get(character, character) for character in text[-2:]))
    await pilot.pause()


def rows_file(path: Path, rows: int = 30, broken: bool = True) -> Path:
    """A data file with markup in it; row 5 is broken, row 9 ends with a user turn, row 12 has escape codes."""
    lines = []
    for number in range(1, rows + 1):
        messages = [
            {"role": "user", "content": f"question {number} [/foo] [bold]x[/]"},
            {"role": "assistant", "content": f"answer {number} [link=x]y"},
        ]
        if number == 9 and broken:
            messages.append({"role": "user", "content": "and?"})
        if number == 12 and broken:
            messages[0]["content"] += " \x1b[31mred\x1b[0m \x07"
        lines.append(json.dumps({"messages": messages}))
    if broken:
        lines[4] = '{"messages": ['
    path.write_text("\n".join(lines) + "\n")
    return path


def tiny_model(folder: Path) -> Path:
    """A model folder as far as rendering needs one: a word tokenizer and a ChatML template."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "merged_with_next")]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    (folder / "chat_template.jinja").write_text(CHATML)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    return folder
