"""What is awaited has its time, and a cancellation always ends it."""

from __future__ import annotations

import asyncio

import pytest

from isokernel.timeouts import timeout


def test_a_cancellation_in_the_turn_of_the_news_isn_t_lost() -> None:
    async def follow(news: asyncio.Event) -> None:
        while True:
            news.clear()
            async with timeout(60):
                await news.wait()

    async def run(turns: int) -> bool:
        news = asyncio.Event()
        task = asyncio.create_task(follow(news))
        await asyncio.sleep(0)
        news.set()
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        ended = task.done()
        task.cancel()
        await asyncio.wait([task])
        return ended

    assert all(asyncio.run(run(turns)) for turns in range(5))


def test_what_takes_longer_is_given_up() -> None:
    async def run() -> None:
        async with timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(run())
