"""What a context's process may do: compute, talk on the sockets it has, and fork.

    settings    what is asked for
    walls       all of them, in their order; and which of them can't be had here
    landlock    no files, no TCP, no signals to others
    seccomp     the system calls that remain
    launch      a Python kernel, confined as far as that goes
    refusals    the system calls that it doesn't need
    syscalls    how Python makes the calls that set this up

JavaScript has no way to files or sockets in the first place. The walls are for the day
when somebody finds one through V8.
"""

from __future__ import annotations

from isokernel.sandbox.settings import SandboxSettings
from isokernel.sandbox.walls import confine, missing

__all__ = ["SandboxSettings", "confine", "missing"]
