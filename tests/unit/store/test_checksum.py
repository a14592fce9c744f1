"""The checksum is CRC-32C: the published vectors, and byte for byte what tensorboard itself writes."""

import random

import pytest
from tensorboard.compat.tensorflow_stub import pywrap_tensorflow

from stabilitykit.store.checksum import crc32c, masked_crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # RFC 3720, B.4, and the check value of the CRC catalogue.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_published_vectors(data: bytes, expected: int):
    assert crc32c(data) == expected


def test_any_length_is_as_tensorboard_has_it():
    generator = random.Random(0)
    for length in [*range(12), *range(508, 522), 1024, 1025, 1027, 1536, 3000]:
        data = generator.randbytes(length)
        assert masked_crc32c(data) == pywrap_tensorflow.masked_crc32c(data)
