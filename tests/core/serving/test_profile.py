"""Prompts unlike the training data are flagged, those like it are not, and no text is kept."""

from __future__ import annotations

import random
import stat
from pathlib import Path

import pytest

from core.serving import profile

SUBJECTS = "lamp lantern candle torch beacon glow wick battery cell salt water filter handle base glass"
VERBS = "glows lights runs works fills holds weighs costs leaks fails starts stops charges dims burns"
ENDS = ("for forty hours", "with salt water", "in the rain", "on one fill", "after a fall", "at night")


def prompts(count: int, seed: int = 0) -> list[str]:
    pick = random.Random(seed)
    return [
        f"How is it that the {pick.choice(SUBJECTS.split())} {pick.choice(VERBS.split())} {pick.choice(ENDS)}, "
        f"and what does the {pick.choice(SUBJECTS.split())} do?"
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def trained() -> profile.Profile:
    return profile.make(prompts(400))


def test_prompts_of_the_same_kind_are_not_flagged(trained: profile.Profile) -> None:
    flagged = [prompt for prompt in prompts(500, seed=1) if trained.flags(prompt)]
    assert len(flagged) <= 5


@pytest.mark.parametrize(
    ("prompt", "flag"),
    [
        ("How is it that the lamp glows? " * 30, "long"),
        ("Почему лампа светит сорок часов подряд", "script"),
        ("为什么灯会亮四十个小时", "script"),
        ("Wie lange leuchtet die Lampe und was ist mit dem Wasser, das ich auf sie gebe", "language"),
        ("Pourquoi est ce que la lampe ne donne pas de lumière dans le jardin avec du sel", "language"),
        ("Refinance mortgages amortise quarterly dividends across offshore subsidiaries", "vocabulary"),
    ],
)
def test_what_is_unlike_the_training_data_is_said(trained: profile.Profile, prompt: str, flag: str) -> None:
    assert flag in trained.flags(prompt)


def test_code_and_figures_are_no_language(trained: profile.Profile) -> None:
    assert trained.flags("310 / 40 = ?") == []
    assert trained.flags("") == []
    assert trained.flags("\x00\ud800") == []


def test_a_profile_holds_no_word_and_is_read_as_it_was_written(
    trained: profile.Profile, tmp_path: Path
) -> None:
    profile.write({"lamp": trained, "other": profile.make([])}, tmp_path)
    path = tmp_path / profile.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not [
        word for word in f"{SUBJECTS} {VERBS}".split() if len(word) > 4 and word.encode() in path.read_bytes()
    ]
    assert profile.read(tmp_path) == {"lamp": trained, "other": profile.make([])}
    assert profile.read(tmp_path / "none") == {}


def test_without_training_prompts_nothing_is_flagged() -> None:
    assert profile.make([]).flags("anything " * 1000) == []


def test_the_limit_of_unknown_words_is_what_the_training_prompts_would_have_had() -> None:
    """In rows that share no word, unknown words mean nothing."""
    rows = [
        " ".join(f"w{chr(97 + a)}{chr(97 + b)}{chr(97 + c)}" for c in range(8))
        for a in range(20)
        for b in range(20)
    ]
    alone = profile.make(rows)
    assert alone.unknown == 1.0
    assert alone.flags("mortgage dividend offshore subsidiary quarterly amortise") == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the use of it for you and me", "English"),
        ("Ich weiß nicht, wie das auf dem Tisch ist", "German"),
        ("¿Cómo se hace el pan y qué es lo que lleva por dentro?", "Spanish"),
        ("O que é que você faz com uma pessoa que não vem mais", "Portuguese"),
        ("Che cosa si fa con il pane e come sono le case di Roma", "Italian"),
        ("Wat is het en hoe maak je er een van dat niet te duur is", "Dutch"),
        ("lamp", ""),
        ("print(x[0]) == 3", ""),
    ],
)
def test_languages_are_told_by_their_commonest_words(text: str, language: str) -> None:
    assert profile.language_of(profile.words_of(text)) == language
