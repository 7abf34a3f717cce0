"""Numbers, times and foreign text as people read them. Pure functions, no widgets.

Numbers carry their unit; thousands are set apart by spaces (`178 125`). Sizes are decimal (1 GB = 10^9 bytes).
Text from outside is data: `visible` shows control characters instead of letting the terminal obey them.
"""

from __future__ import annotations

import locale
import math
import os
import re
import time
import unicodedata

from rich.cells import cell_len

NONE = "—"
"""Shown where there is no value yet."""

_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Controls, zero-width and bidirectional marks, lone surrogates. The joiners U+200C and U+200D belong to words."""


def ascii_only() -> bool:
    """Whether only ASCII should be drawn: `FINETUI_ASCII=1`, or a locale that isn't UTF-8."""
    asked = os.environ.get("FINETUI_ASCII", "")
    if asked:
        return asked != "0"
    return "utf" not in locale.getpreferredencoding(False).lower()


def visible(text: str, lines: bool = False) -> str:
    """The text with control characters made visible: escape becomes `␛`, a bidi mark `<U+202E>`.

    Args:
        text: anything.
        lines: keep line feeds as they are (and take `\\r\\n` for one); tabs become four spaces.
    """
    if lines:
        text = text.replace("\r\n", "\n").replace("\t", "    ")
    return _INVISIBLE.sub(lambda match: _shown(match[0], lines), text)


def _shown(character: str, lines: bool) -> str:
    if lines and character == "\n":
        return character
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        if ascii_only():
            return "^" + chr(code ^ 0x40)
        return chr(0x2400 + code) if code < 0x20 else "\u2421"
    return f"<U+{code:04X}>"


def one_line(text: str) -> str:
    """Foreign text for a table cell or a title: visible, runs of white space as one space."""
    return visible(" ".join(text.split()))


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` cells, broken at spaces where there are any; at least one line."""
    lines: list[str] = []
    for line in text.split("\n"):
        while len(line) > width or (not line.isascii() and cell_len(line) > width):
            cut = _fitting(line, width)
            space = line.rfind(" ", 1, cut + 1)
            if space > 0 and line[:space].strip():
                lines.append(line[:space])
                line = line[space + 1 :]  # noqa: PLW2901 - what is left of it
            else:
                lines.append(line[:cut])
                line = line[cut:]  # noqa: PLW2901
        lines.append(line)
    return lines


def _fitting(line: str, width: int) -> int:
    """How many characters of the line fit into `width` cells; at least one."""
    if line.isascii():
        return max(1, width)
    cells = 0
    for index, character in enumerate(line):
        cells += cell_len(character)
        if cells > width:
            return max(1, index)
    return len(line)


def clip(text: str, width: int) -> str:
    """The text in at most `width` cells, an ellipsis at its end when it is cut."""
    if cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    dots = "~" if ascii_only() else "…"
    return text[: _fitting(text, width - 1)] + dots if width > 1 else dots


def pad(text: str, width: int) -> str:
    """The text clipped or filled with spaces to exactly `width` cells."""
    text = clip(text, width)
    return text + " " * (width - cell_len(text))


def count(number: float) -> str:
    """A whole number with its thousands set apart: `178 125`."""
    return f"{round(number):,}".replace(",", " ")


def short(number: float) -> str:
    """A number in three or four characters: `950`, `41k`, `1.2M`, `3.8B`."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit * 0.9995:
            scaled = number / limit
            return f"{scaled:.1f}".removesuffix(".0") + unit if abs(scaled) < 9.95 else f"{scaled:.0f}{unit}"
    return f"{number:.0f}" if abs(number) >= 99.5 or number == int(number) else f"{number:.2g}"


def size(size_bytes: float) -> str:
    """Bytes in decimal units: `71 MB`, `5.2 GB`."""
    scaled = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(scaled) < 999.5:
            return f"{scaled:.1f} {unit}" if unit != "B" and abs(scaled) < 9.95 else f"{scaled:.0f} {unit}"
        scaled /= 1000
    return f"{scaled:.1f} TB"


def loss(value: float | None) -> str:
    """A loss with four decimals; a dash when there is none, `nan` said as `not a number`."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.3g}"


def rate(value: float) -> str:
    """A learning rate: `1.31e-4`, `0`."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `4 h 23 min`, `3 min 5 s`, `12 s`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    if whole < 86400:
        hours, rest = divmod(whole, 3600)
        return f"{hours} h {rest // 60} min" if rest >= 60 else f"{hours} h"
    days, rest = divmod(whole, 86400)
    return f"{days} d {rest // 3600} h" if rest >= 3600 else f"{days} d"


def money(amount: float, currency: str = "USD") -> str:
    """An amount: `1.60 USD`; of less than one, the two digits that tell something: `0.012 USD`, `0.0003 USD`."""
    if amount >= 0.995 or amount == 0:
        return f"{amount:,.2f} {currency}".replace(",", " ")
    return f"{float(f'{amount:.2g}'):.10f}".rstrip("0").ljust(4, "0") + f" {currency}"


def ago(then: float, now: float) -> str:
    """How long ago a moment was: `just now`, `5 min ago`, `4 h ago`; a dash for 0."""
    if not then:
        return NONE
    passed = now - then
    for length, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if passed >= length:
            return f"{int(passed // length)} {unit} ago"
    return "just now"


def clock(moment: float) -> str:
    """A moment's local time of day: `14:02:11`."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def plain(text: str) -> str:
    """The text in ASCII as far as it has a likeness there, for terminals that draw nothing else."""
    table = {"—": "-", "·": "-", "…": "~", "×": "x", "▼": "v", "▲": "^", "€": "EUR"}
    if text.isascii():
        return text
    swapped = "".join(table.get(character, character) for character in text)
    apart = unicodedata.normalize("NFKD", swapped)
    letters = "".join(character for character in apart if not unicodedata.combining(character))
    return letters.encode("ascii", "replace").decode("ascii")


def metrics(found: dict[str, float]) -> str:
    """What a task measures beside the loss, by name: shares in percent, other figures as they are."""
    words = []
    for name, value in found.items():
        share = name.endswith(("accuracy", "f1"))
        words.append(f"{visible(name.replace('_', ' '))} {f'{value:.1%}' if share else f'{value:.3g}'}")
    return "  ".join(words)
