"""What is asked of the sandbox."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SandboxSettings"]


class SandboxSettings(NamedTuple):
    """Which walls are put up; those that the system can't have are left out.

    Attributes:
        seccomp: Allow only the system calls that a context needs.
        landlock: Deny files, TCP and signals to other processes.
        own_user: Give each context a user of its own; only root can.
        processes_max: Processes and threads of one context and its clones together;
            each takes three. Needs `own_user`.
        descriptors_max: Open descriptors.
        file_bytes_max: Bytes of a file in memory, as which a saved heap is written.
        processor_seconds: Processor time, for the context's whole life; None for any.
        extra_memory_bytes: Private memory beside the heap and the ArrayBuffers that the
            context's own settings allow; None for any.
        niceness: How much it stands back when the processors don't suffice for all, 0
            to 19: whoever serves contexts must get on while hundreds of them compute.
    """

    seccomp: bool = True
    landlock: bool = True
    own_user: bool = True
    processes_max: int = 256
    descriptors_max: int = 64
    file_bytes_max: int = 4 << 30
    processor_seconds: int | None = None
    extra_memory_bytes: int | None = 512 << 20
    niceness: int = 0
