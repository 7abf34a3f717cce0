"""The log: it follows its end only when the reader is there, and shows foreign text as it is."""

from __future__ import annotations

from textual.app import App, ComposeResult

from tests.tui.driving import screen_text
from tui.widgets.log import LogView
from tui.widgets.textpane import Paragraph, TextPane


class LogApp(App[None]):
    def __init__(self, pane: TextPane) -> None:
        super().__init__()
        self.pane = pane

    def compose(self) -> ComposeResult:
        yield self.pane


def lines(start: int, stop: int) -> list[Paragraph]:
    return [Paragraph(f"line {number}", head="12:00  ") for number in range(start, stop)]


async def test_the_end_is_followed_only_while_the_reader_is_there() -> None:
    log = LogView()
    async with LogApp(log).run_test(size=(60, 12)) as pilot:
        log.focus()
        log.append(lines(0, 100))
        await pilot.pause()
        assert "line 99" in screen_text(pilot) and "100 lines" in screen_text(pilot)
        await pilot.press("k", "k", "k")
        top = log.scroll_offset.y
        log.append(lines(100, 142))
        await pilot.pause()
        assert log.scroll_offset.y == top and "line 141" not in screen_text(pilot)
        assert "▼ 42 new lines" in screen_text(pilot)
        await pilot.press("G")
        await pilot.pause()
        assert "line 141" in screen_text(pilot) and "142 lines" in screen_text(pilot)
        log.append(lines(142, 143))
        await pilot.pause()
        assert "line 142" in screen_text(pilot)


async def test_every_motion_has_its_keys() -> None:
    log = LogView()
    async with LogApp(log).run_test(size=(60, 12)) as pilot:
        log.focus()
        log.append(lines(0, 100))
        await pilot.pause()
        for keys in (("g", "j", "ctrl+d", "ctrl+u", "k"), ("home", "down", "pagedown", "pageup", "up")):
            places = []
            for key in keys:
                await pilot.press(key)
                places.append(log.scroll_offset.y)
            assert places == [0, 1, 10, 1, 0]
            await pilot.press("G" if keys[0] == "g" else "end")
            assert log.scroll_offset.y == log.max_scroll_y and log.following


async def test_memory_is_bounded_and_the_reader_keeps_the_place() -> None:
    log = LogView(limit=200)
    async with LogApp(log).run_test(size=(60, 12)) as pilot:
        log.append(lines(0, 200))
        await pilot.pause()
        log.action_move(-20)
        await pilot.pause()
        before = screen_text(pilot).splitlines()[1]
        log.append(lines(200, 210))
        await pilot.pause()
        assert len(log.paragraphs) == 180 and log.total == 210
        assert screen_text(pilot).splitlines()[1] == before


async def test_long_lines_are_wrapped_and_stay_in_place_when_the_width_changes() -> None:
    log = LogView()
    async with LogApp(log).run_test(size=(40, 12)) as pilot:
        log.append([Paragraph(" ".join(f"word{n}" for n in range(30)), head="12:00  ")])
        log.append(lines(0, 50))
        await pilot.pause()
        log.action_move_first()
        await pilot.pause()
        assert "word0" in screen_text(pilot)
        await pilot.resize_terminal(70, 12)
        await pilot.pause()
        text = screen_text(pilot)
        assert "word0" in text and "word29" in text and not log.following


async def test_markup_and_escapes_are_shown_not_obeyed() -> None:
    log = LogView()
    async with LogApp(log).run_test(size=(60, 8)) as pilot:
        log.append([Paragraph("[/foo] [bold]x[/bold] [@click=app.quit]q[/]")])
        await pilot.pause()
        assert "[/foo] [bold]x[/bold] [@click=app.quit]q[/]" in screen_text(pilot)


async def test_a_text_that_is_being_written_keeps_what_is_before_it() -> None:
    pane = TextPane("reply")
    async with LogApp(pane).run_test(size=(40, 10)) as pilot:
        pane.append([Paragraph("you"), Paragraph("name", tail="..."), Paragraph("")])
        for text in ("I", "I am", "I am sorry about that. It was us."):
            pane.replace_from(1, [Paragraph("name", tail="writing"), Paragraph(text)])
            await pilot.pause()
        shown = screen_text(pilot)
        assert "you" in shown and "writing" in shown and "It was us." in shown
        assert len(pane.paragraphs) == 3
        pane.replace_from(1, [Paragraph("short")])
        await pilot.pause()
        assert "It was us." not in screen_text(pilot)


async def test_an_empty_pane_says_what_it_is() -> None:
    pane = TextPane("samples", "None yet: they come with each evaluation.")
    async with LogApp(pane).run_test(size=(60, 8)) as pilot:
        await pilot.pause()
        assert "None yet: they come with each evaluation." in screen_text(pilot)
        pane.append([Paragraph("one")])
        await pilot.pause()
        assert "None yet" not in screen_text(pilot)
        pane.clear()
        await pilot.pause()
        assert "None yet" in screen_text(pilot)


async def test_text_that_comes_at_once_is_wrapped_beside_its_scroll_bar() -> None:
    log = LogView()
    async with LogApp(log).run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        log.append([Paragraph("x" * 200) for _ in range(20)])
        await pilot.pause()
        assert log.show_vertical_scrollbar
        assert max(len(row[1]) for row in log._rows) == log.scrollable_content_region.width
        assert log.vertical_scrollbar.position == log.scroll_y == log.max_scroll_y > 0
