"""The switch that joins cables: passes packets on, or drops or delays them.

It is told the devices' descriptors, and that of a table which says for each two ends
what part of the packets is lost between them, and by how many seconds the others are
late. It ends when its stdin does.
"""

from __future__ import annotations

import heapq
import mmap
import os
import random
import select
import sys
import time
from contextlib import suppress

PACKET_BYTES = 1 << 16
AT_ONCE = 64
"""Packets that are taken from one device before the others are looked at."""
VERSION = 4
TARGET = 19
"""The place of the last byte of the address of who gets a packet."""


class Switch:
    """Passes on what machines send to each other."""

    def __init__(self, devices: list[int], table: memoryview[float]) -> None:
        self._devices = devices
        self._table = table
        self._late: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def serve(self) -> None:
        """Pass packets on until stdin ends."""
        poller = select.poll()
        ends = {device: end for end, device in enumerate(self._devices)}
        for device in (0, *self._devices):
            poller.register(device, select.POLLIN)
        while True:
            for device, _ in poller.poll(self._wait()):
                if device == 0:
                    return
                self._take(device, ends[device])
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(self._late)
                self._give(target, packet)

    def _wait(self) -> float | None:
        """Milliseconds until a packet that is late is to be there."""
        if not self._late:
            return None
        return max(0.0, self._late[0][0] - time.monotonic()) * 1000

    def _take(self, device: int, source: int) -> None:
        for _ in range(AT_ONCE):
            try:
                packet = os.read(device, PACKET_BYTES)
            except OSError:  # there is none, or the device is down
                return
            target = packet[TARGET] - 1 if packet[0] >> 4 == VERSION else -1
            if not 0 <= target < len(self._devices):
                continue
            place = 2 * (source * len(self._devices) + target)
            lost, seconds = self._table[place], self._table[place + 1]
            if lost and random.random() < lost:  # noqa: S311 - no secret
                continue
            if seconds:
                self._number += 1
                due = time.monotonic() + seconds
                heapq.heappush(self._late, (due, self._number, target, packet))
            else:
                self._give(target, packet)

    def _give(self, target: int, packet: bytes) -> None:
        with suppress(OSError):  # it is down, or takes no more
            os.write(self._devices[target], packet)


if __name__ == "__main__":
    shared, *given = map(int, sys.argv[1:])
    Switch(given, memoryview(mmap.mmap(shared, 0)).cast("d")).serve()
