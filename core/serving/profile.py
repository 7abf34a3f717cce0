"""What training prompts were like, in figures without texts, and what makes a prompt unlike them.

A profile is made once, when a model is deployed. It knows lengths, scripts, languages by their commonest words, and
in how many rows each word came, words being numbers of a hash. A prompt is flagged, nothing more: nobody is refused.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from base64 import b85decode, b85encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from core import paths

NAME = "profile.json"
VERSION = 1
BUCKETS = 1 << 18
"""Of the hash of words: 30,000 different words fill a ninth of them, so one new word in nine passes for known."""
MOST_ROWS = 50_000
MOST_CHARACTERS = 20_000
"""Of one prompt that are looked at."""
LONGER = 1.5
"""A prompt is long from so many times the length on that 99 of 100 training prompts stay within."""
RARE = 0.01
"""A script or language with a smaller share of the training prompts is another one."""
MUCH = 0.3
"""Share of a prompt's letters from which on it is in a script."""
LEAST_WORDS = 6
LEAST_UNKNOWN = 0.25
WORD = re.compile(r"[^\W\d_]+")

FUNCTION_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "English": "the of and to in is that for it with as was on are be this by not you have from what how",
        "German": "der die das und ist nicht ein eine ich sie es mit den von zu auf für wie was auch dem im",
        "French": "le la les des et est un une dans que qui pour pas sur avec ce vous je il au du en comment",
        "Spanish": "el la los las y es un una en que de para no con por se lo como su al qué cómo del más",
        "Italian": "il lo la gli e è un una di che per non con si come sono del della nel questo cosa più",
        "Portuguese": "o a os as e é um uma de que para não com se por como do da em no na você mais",
        "Dutch": "de het een en is van dat niet in op te zijn voor met ik je wat hoe aan er maar ook",
        "Polish": "i w nie na się jest to że z do jak co za od po czy tak dla są być ten mi",
    }.items()
}
"""Languages of the Latin script that are told apart; the others are known by their script alone."""


@dataclass(frozen=True)
class Profile:
    """Training prompts in figures.

    Attributes:
        rows: prompts looked at.
        lengths: in characters, at the percentiles 1, 5, 25, 50, 75, 95, 99 and 100.
        scripts: share of prompts that are in each script.
        languages: share of prompts in each language that is told apart; those not told are left out.
        words: of each bucket of the hash, in how many rows one of its words came, 255 at most.
        unknown: share of unknown words that 99 of 100 training prompts would stay within, had they not been trained on.
    """

    rows: int
    lengths: tuple[int, ...]
    scripts: dict[str, float]
    languages: dict[str, float]
    words: bytes
    unknown: float

    def flags(self, prompt: str) -> list[str]:
        """What makes a prompt unlike the training prompts: `long`, `script`, `language`, `vocabulary`."""
        if not self.rows:
            return []
        found = ["long"] if len(prompt) > LONGER * self.lengths[-2] else []
        text = prompt[:MOST_CHARACTERS]
        if any(self.scripts.get(name, 0.0) < RARE for name in scripts_of(text)):
            found.append("script")
        words = words_of(text)
        language = language_of(words)
        if language and self.languages and self.languages.get(language, 0.0) < RARE:
            found.append("language")
        if len(words) >= LEAST_WORDS:
            unknown = sum(self.words[bucket(word)] == 0 for word in words) / len(words)
            if unknown > max(self.unknown, LEAST_UNKNOWN):
                found.append("vocabulary")
        return found


def words_of(text: str) -> Counter[str]:
    """The words of a text, folded, and how often each comes."""
    return Counter(WORD.findall(text.casefold()))


def bucket(word: str) -> int:
    """Number of a word's bucket; the same on every machine."""
    import xxhash

    return int(xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")) % BUCKETS)


def scripts_of(text: str) -> list[str]:
    """The scripts that a good part of a text's letters are in, e.g. `LATIN`."""
    counts: Counter[str] = Counter()
    for character, number in Counter(text).items():
        if script := _script(character):
            counts[script] += number
    total = counts.total()
    return [name for name, count in counts.items() if count >= MUCH * total]


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    """The first word of a letter's Unicode name, which is its script's; empty for what is no letter."""
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


def language_of(words: Counter[str]) -> str:
    """The language whose commonest words are among a text's, or empty where none stands out."""
    scores = {
        name: sum(words[word] for word in common if word in words) for name, common in FUNCTION_WORDS.items()
    }
    best, second = sorted(scores, key=lambda name: -scores[name])[:2]
    clear = scores[best] >= 3 and scores[best] >= 1.5 * scores[second]
    return best if clear and scores[best] >= 0.15 * words.total() else ""


def make(prompts: Iterable[str]) -> Profile:
    """The profile of training prompts; of the first MOST_ROWS of them."""
    lengths: list[int] = []
    scripts: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    rows_with = [0] * BUCKETS
    seen: list[list[int]] = []
    for prompt, _ in zip(prompts, range(MOST_ROWS), strict=False):
        text = prompt[:MOST_CHARACTERS]
        lengths.append(len(prompt))
        scripts.update(scripts_of(text))
        words = words_of(text)
        languages.update([language_of(words)])
        buckets = list({bucket(word) for word in words})
        for number in buckets:
            rows_with[number] += 1
        seen.append(buckets)
    told = len(lengths) - languages.pop("", 0)
    alone = sorted(
        sum(rows_with[number] == 1 for number in buckets) / len(buckets)
        for buckets in seen
        if len(buckets) >= LEAST_WORDS
    )
    return Profile(
        rows=len(lengths),
        lengths=tuple(percentile(sorted(lengths), percent) for percent in (1, 5, 25, 50, 75, 95, 99, 100)),
        scripts={name: count / len(lengths) for name, count in scripts.items()},
        languages={name: count / told for name, count in languages.items()},
        words=bytes(min(count, 255) for count in rows_with),
        unknown=percentile(alone, 99) if alone else 1.0,
    )


def percentile(ordered: Sequence[Any], percent: int) -> Any:
    """Nearest-rank percentile of a sorted sequence; 0 where it is empty."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


def write(profiles: dict[str, Profile], directory: Path) -> None:
    """Keep the profiles of a deployment's models, by model."""
    content = {
        name: {**item.__dict__, "words": b85encode(zlib.compress(item.words)).decode()}
        for name, item in profiles.items()
    }
    paths.write_private(directory / NAME, orjson.dumps({"version": VERSION, "models": content}))


def read(directory: Path) -> dict[str, Profile]:
    """The profiles of a deployment's models; none where none were made.

    Raises:
        ValueError, KeyError, TypeError: the file is damaged.
    """
    try:
        content = orjson.loads((directory / NAME).read_bytes())["models"]
    except FileNotFoundError:
        return {}
    return {
        name: Profile(
            **{**item, "lengths": tuple(item["lengths"]), "words": zlib.decompress(b85decode(item["words"]))}
        )
        for name, item in content.items()
    }
