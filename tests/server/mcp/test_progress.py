"""What is printed, on its way to progress notifications."""

from __future__ import annotations

import pytest

from isoserver.mcp.progress import OutputBuffer

pytestmark = pytest.mark.anyio


async def test_what_comes_with_the_end_is_read() -> None:
    printed = OutputBuffer()
    printed.put("one")
    read = []
    async for text in printed.read():
        read.append(text)
        if text == "one":
            # As when a reader is slow: all of it comes while it is busy.
            printed.put("two")
            printed.close()
    assert read == ["one", "two"]


async def test_an_end_without_text_ends_it() -> None:
    printed = OutputBuffer()
    printed.close()
    assert [text async for text in printed.read()] == []
