"""Comms of a context: Jupyter's two-way channels between a front end and JavaScript."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isokernel.context.bridge import Bridge
    from isokernel.context.turns import Turns


class ContextComms(ABC):
    """The part of a context that a front's comm messages go to. On the V8 thread.

    Attributes:
        bridge: The runtime.
        turns: Who runs when.
    """

    bridge: Bridge
    turns: Turns

    @abstractmethod
    def check_open(self) -> None:
        """Raise ContextClosedError if the context is closed."""

    @abstractmethod
    def after_turn(self) -> None:
        """Settle what a turn has changed, hand out what it printed."""

    def comm_open(
        self,
        comm_id: str,
        target_name: str,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> bool:
        """The front opened a comm; False when JavaScript has no such target."""
        content = {
            "comm_id": comm_id,
            "target_name": target_name,
            "data": data,
            "metadata": metadata or {},
        }
        self._comm("comm_open", content, buffers)
        return comm_id in self.comms()

    def comm_message(
        self,
        comm_id: str,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """The front sent something on a comm."""
        content = {"comm_id": comm_id, "data": data, "metadata": metadata or {}}
        self._comm("comm_msg", content, buffers)

    def comm_close(
        self,
        comm_id: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """The front closed a comm."""
        content = {"comm_id": comm_id, "data": data or {}, "metadata": metadata or {}}
        self._comm("comm_close", content, ())

    def _comm(
        self, kind: str, content: dict[str, Any], buffers: tuple[bytes, ...]
    ) -> None:
        self.check_open()
        with self.turns.turn():
            self.bridge.call("comm", kind, json.dumps(content), list(buffers))
            self.bridge.isolate.run_microtasks()
        self.after_turn()

    def comms(self) -> dict[str, str]:
        """Open comms: id to target."""
        known: dict[str, str] = json.loads(self.bridge.call("comms"))
        return known
