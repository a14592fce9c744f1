"""The checksum of TensorBoard's records, CRC-32C, over a whole block at once instead of byte by byte.

A CRC is linear: it is the exclusive or of what each byte adds at its place. So the bytes of a block are
looked up in a table with a row for each place, and the rows combined; tensorboard's own loop in Python
takes some twenty times as long.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
"""Castagnoli's polynomial, lowest power first."""
_BLOCK = 512


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C of ``data``, rotated and shifted as TFRecord files have it."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of ``data``."""
    table, places = _table()
    crc = 0xFFFFFFFF
    for start in range(0, len(data), _BLOCK):
        block = np.frombuffer(data, np.uint8, min(_BLOCK, len(data) - start), start)
        n = block.size
        rows = table[_BLOCK - n :]
        total = int(np.bitwise_xor.reduce(rows[places[:n], block]))
        # What came before acts as if added to the first four bytes; what is longer than the block stays.
        for place in range(min(4, n)):
            byte = (crc >> (8 * place)) & 0xFF
            total ^= int(rows[place, byte])
        crc = total ^ (crc >> (8 * n)) if n < 4 else total
    return crc ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _table() -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Return what a byte adds to the CRC of a block at each place, and the places' numbers."""
    one = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        one = np.where(one & 1, (one >> 1) ^ np.uint32(_POLYNOMIAL), one >> 1).astype(np.uint32)
    table = np.empty((_BLOCK, 256), np.uint32)
    table[-1] = one
    for place in range(_BLOCK - 2, -1, -1):
        following = table[place + 1]
        table[place] = one[following & 0xFF] ^ (following >> 8)
    return table, np.arange(_BLOCK, dtype=np.intp)
