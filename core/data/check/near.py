"""Near duplicates: rows whose words, three at a time, are the same but for a few (MinHash).

A worker makes a signature of each row: 128 minhashes (rensa), kept as 16 band keys, each of 8 minhashes, and one
bit of each minhash. Two rows with a band in common are compared by their bits: of two sets with similarity s
(Jaccard) a share of (1 + s) / 2 of the bits agrees (b-bit minwise hashing, Li and König 2010). With 16 bands of 8
a pair with s = 0.9 is compared with probability 0.9999, with s = 0.8 with 0.95. Signatures wait in temporary
files, so memory stays small. System turns, which rows often share, and letters' case are left out.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from core.data.check.scan import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIMILAR = 0.8
_BITS = 128
_BANDS = 16
_SHINGLE = 3
_FEWEST_SHINGLES = 8
_SEED = 42
_LONGEST_WORD = 64
_AT_ONCE = 1 << 20
_PLACE = struct.Struct("<III")
_NONE = 0xFFFFFFFF


class Signatures(NamedTuple):
    """Of the rows that are long enough: their numbers among the rows given, their bits and band keys."""

    numbers: NDArray[np.uint32]
    bits: NDArray[np.uint64]
    bands: NDArray[np.uint32]


class Pair(NamedTuple):
    """A row and an earlier one that it is nearly the same as; both as they were added."""

    place: tuple[int, int, int]
    first: tuple[int, int, int]
    similarity: float


def signatures(rows: Sequence[Row]) -> Signatures:
    """The signatures of rows with ten words or more."""
    import numpy as np
    import rensa

    texts = [_compared(row) for row in rows]
    hashes, lengths = _shingles(texts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, _BITS, _SEED)
    long = np.flatnonzero(lengths >= _FEWEST_SHINGLES).astype(np.uint32)
    minhashes = np.array(matrix.to_rows(), np.uint32).reshape(len(rows), _BITS)[long]
    bits = np.packbits((minhashes & 1).astype(np.uint8), axis=1).view(np.uint64)
    return Signatures(long, bits, _band_keys(minhashes))


class NearDuplicates:
    """Collects signatures in temporary files, then finds the pairs. Memory: 32 bytes a row while it finds."""

    def __init__(self) -> None:
        self.rows = 0
        self._places = _temporary()
        self._bits = _temporary()
        self._bands = [_temporary() for _ in range(_BANDS)]

    def add(self, places: NDArray[np.uint32], bits: NDArray[np.uint64], bands: NDArray[np.uint32]) -> None:
        """Add rows: for each three numbers that say where it is, its bits and band keys."""
        self.rows += len(places)
        places.tofile(self._places)
        bits.tofile(self._bits)
        for number, file in enumerate(self._bands):
            bands[:, number].tofile(file)

    def pairs(self) -> Iterator[Pair]:
        """Every row that is nearly an earlier one, in order, with the first such."""
        import numpy as np

        if self.rows < 2:
            return
        self._places.flush()
        bits = _read(self._bits, np.uint64).reshape(self.rows, -1)
        firsts = np.full(self.rows, _NONE, np.uint32)
        for file in self._bands:
            _compare_band(_read(file, np.uint32), bits, firsts)
        for member in np.flatnonzero(firsts != _NONE):
            first = int(firsts[member])
            share = 1 - int(np.bitwise_count(bits[member] ^ bits[first]).sum()) / _BITS
            yield Pair(self._place(int(member)), self._place(first), 2 * share - 1)

    def close(self) -> None:
        for file in (self._places, self._bits, *self._bands):
            file.close()

    def _place(self, number: int) -> tuple[int, int, int]:
        one, two, three = _PLACE.unpack(os.pread(self._places.fileno(), _PLACE.size, number * _PLACE.size))
        return one, two, three


def _compared(row: Row) -> bytes:
    turns = zip(row.roles, row.contents, strict=True)
    return "\n".join([content for role, content in turns if role != "system"]).lower().encode()


def _shingles(texts: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of each text's runs of three words, all texts' in one array, and how many each text has.

    A word is a run of letters and digits; a letter of three bytes and more in UTF-8 from U+3000 on begins one of
    its own, since scripts there are written without spaces.
    """
    import numpy as np

    lengths = np.array([len(text) + 1 for text in texts])
    letters = np.frombuffer(b" ".join(texts) + b" ", np.uint8)
    kind = _kinds()[letters]
    inside = kind > 0
    begins = inside.copy()
    begins[1:] &= (kind[1:] == 2) | ~inside[:-1]
    starts = np.flatnonzero(begins)
    words = _word_hashes(letters, inside, begins, starts)
    of_text = np.searchsorted(np.cumsum(lengths), starts, side="right")
    if len(words) < _SHINGLE:
        return np.empty(0, np.uint64), np.zeros(len(texts), np.int64)
    one, two, three = (
        np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
    )
    mixed = _mix(words[:-2] * one + words[1:-1] * two + words[2:] * three)
    within = of_text[:-2] == of_text[2:]
    return mixed[within], np.bincount(of_text[:-2][within], minlength=len(texts))


def _word_hashes(
    letters: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    begins: NDArray[np.bool_],
    starts: NDArray[np.intp],
) -> NDArray[np.uint64]:
    """A hash of each word: a polynomial of its bytes (those after the 64th weigh alike)."""
    import numpy as np

    where = np.flatnonzero(inside)
    first = begins[where]
    place = np.minimum(where - starts[np.cumsum(first) - 1], _LONGEST_WORD)
    weighted = (letters[where].astype(np.uint64) + np.uint64(1)) * _powers()[place]
    sums = np.add.reduceat(weighted, np.flatnonzero(first)) if len(starts) else weighted
    return _mix(sums)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the value (the finisher of MurmurHash3)."""
    import numpy as np

    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return values ^ (values >> np.uint64(29))


def _powers() -> NDArray[np.uint64]:
    import numpy as np

    base = np.uint64(0x9FB21C651E98DF25)
    return np.cumprod(np.full(_LONGEST_WORD + 1, base, np.uint64), dtype=np.uint64)


def _kinds() -> NDArray[np.uint8]:
    """Of each byte of UTF-8: 0 is no part of a word, 1 is, 2 begins one."""
    import numpy as np

    kinds = np.zeros(256, np.uint8)
    kinds[np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)] = 1
    kinds[0x80:] = 1
    kinds[0xE3:] = 2
    return kinds


def _band_keys(minhashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    import numpy as np

    bands = minhashes.reshape(len(minhashes), _BANDS, _BITS // _BANDS).astype(np.uint64)
    weights = _powers()[: bands.shape[2]]
    return (_mix((bands * weights).sum(axis=2, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32)


def _compare_band(keys: NDArray[np.uint32], bits: NDArray[np.uint64], firsts: NDArray[np.uint32]) -> None:
    """Lower `firsts` to the first row, of those with the same key, that a row is like."""
    import numpy as np

    order = (keys.astype(np.uint64) << np.uint64(32)) | np.arange(len(keys), dtype=np.uint64)
    del keys
    order.sort()
    for start in range(0, len(order) - 1, _AT_ONCE):
        piece = order[start : start + _AT_ONCE + 1]
        group, index = piece >> np.uint64(32), (piece & np.uint64(_NONE)).astype(np.uint32)
        same = group[1:] == group[:-1]
        heads = np.concatenate([[True], ~same])
        leader = index[np.maximum.accumulate(np.where(heads, np.arange(len(piece)), 0))]
        members = np.flatnonzero(same) + 1
        for earlier in (leader[members], index[members - 1]):
            later = index[members]
            agree = _BITS - np.bitwise_count(bits[later] ^ bits[earlier]).sum(axis=1)
            alike = agree >= _BITS * (1 + SIMILAR) / 2
            np.minimum.at(firsts, later[alike], earlier[alike])


def _temporary() -> BinaryIO:
    """A file that has no name and is gone with the process."""
    return tempfile.TemporaryFile()  # noqa: SIM115 - closed by NearDuplicates.close


def _read(file: BinaryIO, kind: Any) -> NDArray[Any]:
    import numpy as np

    file.flush()
    file.seek(0)
    return np.fromfile(file, kind)
