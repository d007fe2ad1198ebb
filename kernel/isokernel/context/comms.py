"""Comms of a context: Jupyter's two-way channels between a front end and JavaScript."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from isokernel.context.bridge import Bridge


class Comms:
    """Delivers a front's comm messages to JavaScript. On the V8 thread.

    What JavaScript sends comes as `CommEvent`s.
    """

    def __init__(self, bridge: Bridge, deliver: Callable[..., None]) -> None:
        """Deliver to the runtime by `deliver`, which is `Context.deliver`."""
        self._bridge = bridge
        self._deliver = deliver

    def open(
        self,
        comm_id: str,
        target_name: str,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> bool:
        """Open a comm from the front; False when JavaScript has no such target."""
        content = {"comm_id": comm_id, "target_name": target_name, "data": data}
        self._send("comm_open", content, metadata, buffers)
        return comm_id in self.targets()

    def message(
        self,
        comm_id: str,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        buffers: tuple[bytes, ...] = (),
    ) -> None:
        """Deliver what the front sent on a comm."""
        self._send("comm_msg", {"comm_id": comm_id, "data": data}, metadata, buffers)

    def close(
        self,
        comm_id: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Close a comm from the front."""
        self._send("comm_close", {"comm_id": comm_id, "data": data or {}}, metadata, ())

    def targets(self) -> dict[str, str]:
        """Return the open comms: id to target name."""
        known: dict[str, str] = json.loads(self._bridge.call("comms"))
        return known

    def _send(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None,
        buffers: tuple[bytes, ...],
    ) -> None:
        content["metadata"] = metadata or {}
        self._deliver("comm", kind, json.dumps(content), list(buffers))
