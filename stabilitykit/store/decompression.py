"""Compressed files read as they are unpacked: gzip, bzip2, xz, zstd and lz4."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Protocol

import pyarrow as pa

_XZ_MEMORY = 256 * 2**20
MAGIC: Mapping[bytes, str] = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}
"""How a compressed file begins."""
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, OSError, pa.ArrowException)
"""What the decompressors raise at a damaged place."""


class Readable(Protocol):
    """What unpacked bytes are read from."""

    def read1(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes, after one call of the decompressor at most where some are there."""


class _Xz:
    """Xz streams one after the other, within a limit of memory, which ``lzma.open`` has none of."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def read1(self, size: int, /) -> bytes:
        while True:
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0") or self._raw.read(2**16)
                if not rest:
                    return b""
                self._decoder = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)
            else:
                rest = self._raw.read(2**16) if self._decoder.needs_input else b""
                if not rest and self._decoder.needs_input:
                    raise EOFError
            if data := self._decoder.decompress(rest, size):
                return data


def _arrow(codec: str) -> Callable[[IO[bytes]], Readable]:
    def open_stream(raw: IO[bytes]) -> Readable:
        stream: Readable = pa.CompressedInputStream(raw, codec)
        return stream

    return open_stream


DECOMPRESSORS: Mapping[str, Callable[[IO[bytes]], Readable]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bzip2": bz2.BZ2File,
    "xz": _Xz,
    "zstd": _arrow("zstd"),
    "lz4": _arrow("lz4"),
}
