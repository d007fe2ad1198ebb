"""POST /execute/async: run a cell and stream what it says (server-sent events)."""

from __future__ import annotations

import asyncio

from tornado.iostream import StreamClosedError

from isoserver.contexts.executing import ExecutingHandler
from isoserver.contexts.feeds import Feed, JupyterEvents, LineEvents
from isoserver.contexts.models import StreamRequest

__all__ = ["StreamHandler"]

LINES, JUPYTER = "lines", "jupyter"


class StreamHandler(ExecutingHandler):
    """Runs a cell and sends events while it runs."""

    async def post(self) -> None:
        """Run the code of the body."""
        form = self.choice("format", LINES, JUPYTER)
        _, execution = await self.begin(self.parse(StreamRequest))
        feed = Feed(self.service.settings.stream_buffer_characters_max)
        events = (JupyterEvents if form == JUPYTER else LineEvents)(feed, execution)
        execution.listeners.append(events.take)
        execution.done.add_done_callback(events.over)
        self.set_header("Content-Type", "text/event-stream; charset=utf-8")
        self.set_header("X-Accel-Buffering", "no")
        try:
            await self._pass_on(feed)
        except (StreamClosedError, asyncio.TimeoutError):
            self._abandon()
        finally:
            execution.listeners.remove(events.take)
            execution.done.remove_done_callback(events.over)

    async def _pass_on(self, feed: Feed) -> None:
        """Write what the feed has, at the pace at which the client reads."""
        settings = self.service.settings
        await asyncio.wait_for(self.flush(), settings.stream_stall_timeout_seconds)
        while not self.gone:
            text = await feed.get(settings.stream_heartbeat_interval_seconds)
            if text or not feed.ended:
                self.write(text or ": ping\n\n")
            await asyncio.wait_for(self.flush(), settings.stream_stall_timeout_seconds)
            if feed.ended:
                return

    def _abandon(self) -> None:
        """Cut off a client that is gone or doesn't read; the execution goes on."""
        if self.gone:
            return
        self.service.log.warning("stalled", route=self.route)
        self.on_connection_close()
        self.detach().close()
