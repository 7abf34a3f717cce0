"""The app's own themes: a dark one, a light one and one whose states differ for colour-blind eyes too.

State colours are entries of the xterm-256 cube, so that tmux and older terminals show them as meant. None of
the themes is an `ansi` one: under NO_COLOR those come out black on black, these as readable greys.
"""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="finetui-dark",
    primary="#5fafff",
    secondary="#87afaf",
    accent="#5fd7ff",
    success="#87d75f",
    warning="#ffaf5f",
    error="#ff8787",
    foreground="#dadada",
    background="#121212",
    surface="#1c1c1c",
    panel="#303030",
    dark=True,
    variables={
        "foreground-muted": "#9e9e9e",
        "footer-key-foreground": "#5fd7ff",
        "input-selection-background": "#5fafff 35%",
    },
)

LIGHT = Theme(
    name="finetui-light",
    primary="#005faf",
    secondary="#005f5f",
    accent="#005f87",
    success="#005f00",
    warning="#875f00",
    error="#af0000",
    foreground="#1c1c1c",
    background="#ffffff",
    surface="#f5f5f5",
    panel="#dadada",
    dark=False,
    variables={
        "foreground-muted": "#5f5f5f",
        "footer-key-foreground": "#005f87",
        "input-selection-background": "#005faf 25%",
    },
)

# Blue for good, yellow for caution, vermilion for bad: told apart with any of the common colour blindnesses
# (Okabe and Ito, Color Universal Design, 2008), here as their nearest entries of the cube.
COLOUR_BLIND = Theme(
    name="finetui-colour-blind",
    primary="#5fafff",
    secondary="#afafaf",
    accent="#5fd7ff",
    success="#5fafff",
    warning="#ffff5f",
    error="#ff8700",
    foreground="#dadada",
    background="#121212",
    surface="#1c1c1c",
    panel="#303030",
    dark=True,
    variables={
        "foreground-muted": "#9e9e9e",
        "footer-key-foreground": "#5fd7ff",
        "input-selection-background": "#5fafff 35%",
    },
)

THEMES: tuple[Theme, ...] = (DARK, LIGHT, COLOUR_BLIND)

TITLES = {
    DARK.name: "dark",
    LIGHT.name: "light",
    COLOUR_BLIND.name: "dark, safe for colour-blind eyes",
}


def following(name: str) -> Theme:
    """The theme after the named one; the first after the last and after a foreign one."""
    names = [theme.name for theme in THEMES]
    return THEMES[(names.index(name) + 1) % len(THEMES)] if name in names else THEMES[0]
