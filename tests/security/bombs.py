"""Answers far larger than what is sent for them."""

import struct
import zlib
from collections.abc import Iterable

from local.loopback import Exchange, Fault


def gzip_bomb(beginning: bytes, unit: bytes, times: int, end: bytes) -> bytes:
    """The gzip of `beginning + times * unit + end`, which is never made: the unit is compressed once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)

    def packed(data: bytes) -> bytes:
        return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)  # refers to nothing before it

    checksum = zlib.crc32(beginning)
    for _ in range(times):
        checksum = zlib.crc32(unit, checksum)
    checksum = zlib.crc32(end, checksum)
    size = len(beginning) + times * len(unit) + len(end)
    return b"".join(
        (
            b"\x1f\x8b\x08\0\0\0\0\0\0\xff",
            packed(beginning),
            packed(unit) * times,
            packed(end),
            packer.flush(),
            struct.pack("<II", checksum, size & 0xFFFFFFFF),
        )
    )


def answering_gzip(body: bytes) -> Fault:
    """The compressed body as the answer."""

    def answer(exchange: Exchange) -> bool:
        exchange.answer(200, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})
        return True

    return answer


def streaming(pieces: Iterable[bytes]) -> Fault:
    """An answer in chunks, for as long as somebody reads and there are pieces."""

    def answer(exchange: Exchange) -> bool:
        exchange.stream(pieces, {"Content-Type": "application/json"})
        return True

    return answer
