"""Replies as Markdown: laid out for reading, and nothing a model writes is more than text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style
from textual.app import App, ComposeResult

from tui.format import visible
from tui.markdown import MOST_CHARACTERS, paragraphs
from tui.widgets.textpane import Paragraph, TextPane

TEXT = """# Title *x*
Two **bold** and `co_de`,
~~gone~~.

> quoted
> twice

- one
  more
- two
  1. three

```py
x = [b]1[/b]

y
```
| a | bb |
|---|----|
| 1 | **2** |
"""


def flat(shown: list[Paragraph]) -> list[str]:
    return [item.head + item.text for item in shown]


def marked(item: Paragraph) -> dict[str, str]:
    return {item.text[start:end]: style for start, end, style in item.spans}


def test_blocks_are_laid_out() -> None:
    shown = paragraphs(TEXT, "  ")
    assert flat(shown) == [
        "  Title x", "",
        "  Two bold and co_de,\ngone.", "",
        "  │ quoted\ntwice", "",
        "  • one\nmore",
        "  • two",
        "    1. three", "",
        "    x = [b]1[/b]", "    ", "    y", "",
        "  a │ bb", "  1 │ 2",
    ]  # fmt: skip
    assert shown[0].style == "strong" and marked(shown[0]) == {"x": "emphasis"}
    assert marked(shown[2]) == {"bold": "strong", "co_de": "code", "gone": "struck"}
    assert shown[4].again == "  │ "
    assert (shown[6].again, shown[8].again) == ("    ", "       ")
    assert shown[10].style == "code"
    assert marked(shown[15]) == {"2": "strong"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[bank](https://evil.example)", "bank (https://evil.example)"),
        ("<https://a.b>", "https://a.b"),
        ("![cat](x.png)", "[image: cat] (x.png)"),
        ("<b onclick=x>hi</b><script>", "<b onclick=x>hi</b><script>"),
        ("[red]x[/] [@click=app.quit]y[/]", "[red]x[/] [@click=app.quit]y[/]"),
        ("a\x1b[31mb\x07\x9bc", "a␛[31mb␇<U+009B>c"),
        ("&#27;[31m &#x202e; &#8206;", "&#27;[31m &#x202e; &#8206;"),
        ("`a\x1bb`", "a␛b"),
        ("a\rb\r\nc", "a␍b\nc"),
    ],
)
def test_nothing_is_more_than_text(text: str, expected: str) -> None:
    shown = "\n".join(item.text for item in paragraphs(text))
    assert shown.replace("�", "") == expected


PIECES = st.sampled_from(
    ["*", "**", "_", "`", "```\n", "[", "](", ")", "![", "> ", "- ", "1. ", "#", "# ", "|", "|-|", "\n", "\n\n", "    ",
     "~~", "<", ">", "&#27;", "&#8206;", "\\", "\x1b[31m", "\x07", "\x00", "\x9b", "\u202e", "word", "é", "日本",
     "[/b]", "http://x", "***\n", "\t", "\r"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=60).map("".join))
def test_any_text_is_shown_without_controls_and_with_all_its_words(text: str) -> None:
    shown = paragraphs(text)
    for item in shown:
        for part in (item.text, item.head, item.again):
            assert visible(part, lines=True) == part
        places = [place for start, end, _ in item.spans for place in (start, end)]
        assert places == sorted(places)
        assert all(0 <= place <= len(item.text) for place in places)
    everything = "".join(item.text for item in shown)
    if "```" not in text and "[" not in text:  # a fence's info string and a link's title are not shown
        assert everything.count("word") == text.count("word")


def test_a_very_long_reply_is_shown_as_it_is() -> None:
    (shown,) = paragraphs("**a** " * MOST_CHARACTERS)
    assert shown.text.startswith("**a** ") and not shown.spans


def test_ascii_terminals_get_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_ASCII", "1")
    shown = paragraphs("- a\n\n> b\n\n***\n\n|a|b|\n|-|-|\n")
    assert "".join(flat(shown)).isascii()


class PaneApp(App[None]):
    def compose(self) -> ComposeResult:
        yield TextPane("pane", id="pane")


async def test_wrapped_lines_keep_their_styles() -> None:
    """Every character on the screen has the style that its place in the text says, however it is wrapped."""
    text = "one **two three four** `five-six-seven-eight-nine-ten`  and *ele\nven* " + "x" * 40 + " **end**"
    app = PaneApp()
    for width in (9, 12, 17, 40, 90):
        async with app.run_test(size=(width, 40)) as pilot:
            pane = app.query_one(TextPane)
            (item,) = paragraphs(text)
            pane.set_paragraphs([item])
            await pilot.pause()
            seen = characters(pane)
            wanted = styles_of(item)
            assert "".join(character for character, _ in seen) == "".join(c for c, _ in wanted)
            assert seen == wanted
        app = PaneApp()


def styles_of(item: Paragraph) -> list[tuple[str, str]]:
    """Each visible character and its style's name."""
    names = [""] * len(item.text)
    for start, end, name in item.spans:
        names[start:end] = [name] * (end - start)
    return [pair for pair in zip(item.text, names, strict=True) if not pair[0].isspace()]


def characters(pane: TextPane) -> list[tuple[str, str]]:
    def name(style: Style | None) -> str:
        assert style is not None
        looks: dict[str, Any] = {"strong": style.bold, "emphasis": style.italic}
        code = pane.get_component_rich_style("pane--code", partial=True).color
        return next((word for word, has in looks.items() if has), "code" if style.color == code else "")

    rows = (pane.render_line(number) for number in range(pane.virtual_size.height))
    return [
        (character, name(part.style)) for row in rows for part in row for character in part.text
        if not character.isspace()
    ]  # fmt: skip
