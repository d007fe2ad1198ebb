from __future__ import annotations

import gzip
import zlib

import brotli
import pytest

from isokernel.network.decoding import DecodingError, decoder_for

TEXT = bytes(range(256)) * 5000
BOMB = bytes(8 << 20)
PIECE_MAX = 512 << 10


def _raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": gzip.compress(TEXT),
    "X-GZIP": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "Deflate ": _raw(TEXT),
    "br": brotli.compress(TEXT),
    "gzip, br": brotli.compress(gzip.compress(TEXT)),
    "identity": TEXT,
    "": TEXT,
    "zstd": TEXT,
    "gzip,gzip,gzip,gzip,gzip": TEXT,
}


@pytest.mark.parametrize("coding", PACKED)
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_what_comes_in_pieces_is_unpacked_in_pieces(coding: str, step: int) -> None:
    packed, decoder = PACKED[coding], decoder_for(coding)
    made: list[bytes] = []
    for at in range(0, len(packed), step):
        made += decoder.feed(packed[at : at + step])
    decoder.finish()
    assert b"".join(made) == TEXT
    assert step > 1000 or max(map(len, made)) <= PIECE_MAX


def test_files_one_after_the_other_are_one_body() -> None:
    decoder = decoder_for("gzip")
    two = gzip.compress(b"a") + gzip.compress(b"b") + bytes(8)
    assert b"".join(decoder.feed(two)) == b"ab"
    decoder.finish()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_small_bomb_is_unpacked_as_far_as_it_is_read(coding: str) -> None:
    packed = {
        "gzip": gzip.compress(BOMB),
        "deflate": zlib.compress(BOMB),
        "br": brotli.compress(BOMB, quality=5),
    }
    pieces = decoder_for(coding).feed(packed[coding])
    assert len(next(pieces)) <= PIECE_MAX
    pieces.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_what_is_cut_or_damaged_is_an_error(coding: str) -> None:
    decoder = decoder_for(coding)
    list(decoder.feed(PACKED[coding][:-9]))
    with pytest.raises(DecodingError, match="too early"):
        decoder.finish()
    with pytest.raises(DecodingError):
        list(decoder_for(coding).feed(b"\x8b\x00no such data" * 100))


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_no_body_is_no_error(coding: str) -> None:
    decoder_for(coding).finish()
