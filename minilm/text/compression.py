"""Measures how far general compressors squeeze a text: gzip and xz in bits per character, beside a model's loss.

The split is scored as the continuation of the training text, as a model is: the compressed size of both together
minus that of the training text alone. This file knows bytes and nothing of tokens.
"""

from __future__ import annotations

import gzip
import lzma

from minilm.errors import CorpusError

CONTEXT = {"gzip": 1 << 16, "xz": 16 << 20}  # bytes of training text before the split; gzip looks back 32 KB


def compressed_bits(split: bytes, train: bytes = b"", characters: int | None = None) -> dict[str, float]:
    """Bits per character of `split` after `train`; `characters` where they are fewer than the bytes.

    An empty split raises `CorpusError`.

    >>> bits = compressed_bits(b"ab" * 500, b"ab" * 500)
    >>> bits["gzip"] < 0.1, bits["xz"] < 0.1
    (True, True)
    """
    if not split:
        raise CorpusError("a split must hold at least one byte to be compressed, got none; use a longer text")
    count = characters or len(split)
    sizes = {"gzip": _gzip_size, "xz": _xz_size}
    bits = {}
    for name, size in sizes.items():
        before = train[-CONTEXT[name] :]
        bits[name] = 8 * (size(before + split) - size(before)) / count
    return bits


def _gzip_size(data: bytes) -> int:
    return len(gzip.compress(data, compresslevel=9, mtime=0))


def _xz_size(data: bytes) -> int:
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
