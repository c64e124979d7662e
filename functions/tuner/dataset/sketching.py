"""MinHash with numpy: 48 bytes of each text, and which of them meet somewhere.

Broder, "On the resemblance and containment of documents" (1997). A sketch is made of shingles: the
twelve bytes that follow the beginning of each word, so that two texts of the same common words
share next to none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

from tuner.dataset.near import MIN_WORDS

#: Twelve bands of five: of pairs that are just 0.9 alike in words, some 0.82 in shingles, 99 %
#: become suspects; of pairs that share one shingle in fifty, one in 26 million.
_BANDS = 12
_ROWS = 5
_SEED = 1
_SHINGLE_BYTES = 12
#: Odd numbers that mix what a hash is made of into 64 bits.
_MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
     0x85EBCA77C2B2AE63],
    dtype=np.uint64,
)  # fmt: skip

#: A sketch a row; a band is 0 where a text has too few words.
Bands = NDArray[np.uint32]


def sketch(texts: list[bytes]) -> Bands:
    """The bands of texts, in lower case."""
    hashes, ends = _shingles(texts)
    digests = RMinHash.digest_matrix_from_flat_token_hashes(
        hashes, ends, num_perm=_BANDS * _ROWS, seed=_SEED
    )
    rows = np.array(digests.to_rows(), dtype=np.uint64).reshape(-1, _BANDS, _ROWS)
    bands = ((rows + np.uint64(1)) * _MIX).sum(axis=2, dtype=np.uint64)
    bands >>= np.uint64(32)
    bands[np.diff(ends) < MIN_WORDS] = 0
    narrow: Bands = bands.astype(np.uint32)
    return narrow


def meeting(blocks: list[Bands], at_most: int) -> tuple[list[int], Bands, int]:
    """Of all sketches the numbers of those that meet another in a band, their bands, and how many
    there are beyond the first `at_most`.
    """
    bands = np.concatenate(blocks)
    meets = np.zeros(len(bands), dtype=bool)
    for band in range(_BANDS):
        column = bands[:, band]
        ordered = np.sort(column)
        repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        meets |= np.isin(column, repeated) & (column != 0)
    numbers = np.flatnonzero(meets)
    taken = numbers[:at_most]
    return taken.tolist(), bands[taken], len(numbers) - len(taken)


def _shingles(texts: list[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """A hash for each word's beginning and what follows it; and where each text's begin and end."""
    gap = bytes(_SHINGLE_BYTES)  # no shingle reaches into the next text
    joined = gap.join((b"", *texts, b""))
    is_space = np.frombuffer(joined, dtype=np.uint8) <= 32
    begins = np.flatnonzero(is_space[:-1] & ~is_space[1:]) + 1
    # Eight bytes from every place on, and another eight that overlap them.
    eights = np.ndarray((len(joined) - 7,), dtype="<u8", buffer=joined, strides=(1,))
    hashes = eights[begins] * _MIX[0] + eights[begins + (_SHINGLE_BYTES - 8)] * _MIX[1]
    lengths = np.array([len(text) + _SHINGLE_BYTES for text in texts])
    ends = np.searchsorted(begins, np.concatenate(([0], lengths.cumsum())) + _SHINGLE_BYTES)
    return hashes ^ (hashes >> np.uint64(29)), ends.astype(np.uint64)
