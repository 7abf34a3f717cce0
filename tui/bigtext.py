"""Letters and digits several lines high, for a code that has to be typed on another machine. Pure functions."""

from __future__ import annotations

from tui.format import ascii_only

GLYPHS = {
    "A": ".###. #...# ##### #...# #...#",
    "B": "####. #...# ####. #...# ####.",
    "C": ".#### #.... #.... #.... .####",
    "D": "####. #...# #...# #...# ####.",
    "E": "##### #.... ####. #.... #####",
    "F": "##### #.... ####. #.... #....",
    "G": ".#### #.... #..## #...# .####",
    "H": "#...# #...# ##### #...# #...#",
    "I": ".###. ..#.. ..#.. ..#.. .###.",
    "J": "..### ...#. ...#. #..#. .##..",
    "K": "#..#. #.#.. ##... #.#.. #..#.",
    "L": "#.... #.... #.... #.... #####",
    "M": "#...# ##.## #.#.# #...# #...#",
    "N": "#...# ##..# #.#.# #..## #...#",
    "O": ".###. #...# #...# #...# .###.",
    "P": "####. #...# ####. #.... #....",
    "Q": ".###. #...# #.#.# #..#. .##.#",
    "R": "####. #...# ####. #..#. #...#",
    "S": ".#### #.... .###. ....# ####.",
    "T": "##### ..#.. ..#.. ..#.. ..#..",
    "U": "#...# #...# #...# #...# .###.",
    "V": "#...# #...# #...# .#.#. ..#..",
    "W": "#...# #...# #.#.# ##.## #...#",
    "X": "#...# .#.#. ..#.. .#.#. #...#",
    "Y": "#...# .#.#. ..#.. ..#.. ..#..",
    "Z": "##### ...#. ..#.. .#... #####",
    "0": ".###. #..## #.#.# ##..# .###.",
    "1": "..#.. .##.. ..#.. ..#.. .###.",
    "2": "####. ....# .###. #.... #####",
    "3": "####. ....# .###. ....# ####.",
    "4": "#..#. #..#. ##### ...#. ...#.",
    "5": "##### #.... ####. ....# ####.",
    "6": ".###. #.... ####. #...# .###.",
    "7": "##### ....# ...#. ..#.. ..#..",
    "8": ".###. #...# .###. #...# .###.",
    "9": ".###. #...# .#### ....# .###.",
    "-": "..... ..... .###. ..... .....",
    " ": "..... ..... ..... ..... .....",
}
"""Five rows of five points each; the zero is struck through, unlike the letter O."""

HALVES = {"..": " ", "#.": "▀", ".#": "▄", "##": "█"}


def big(text: str, width: int) -> list[str]:
    """The text in large letters: three lines of half blocks, or five where only ASCII is drawn.

    Args:
        text: letters, digits, blanks and hyphens, in any letter case.
        width: cells there are; a text that needs more, or has other characters, is one line as it is.
    """
    letters = text.upper()
    if 6 * len(letters) - 1 > width or not set(letters) <= GLYPHS.keys():
        return [text]
    rows = [".".join(GLYPHS[letter].split()[row] for letter in letters) for row in range(5)]
    if ascii_only():
        return [row.replace(".", " ").rstrip() for row in rows]
    rows.append("." * len(rows[0]))
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(HALVES[a + b] for a, b in zip(*pair, strict=True)).rstrip() for pair in pairs]
