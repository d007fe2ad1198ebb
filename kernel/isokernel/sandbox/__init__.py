"""What a context's process may do. V8's: compute, talk on its sockets, and fork.

    confinement   all of it, in order: rlimits, a user of its own, Landlock, seccomp
    landlock      no files, no TCP, no signals to others
    seccomp       the system calls that remain
    syscalls      how Python makes the calls that set this up

    container     namespaces for other kernels, which need files and programs
    cgroups       limits of all the processes of a container together

JavaScript has no way to files or sockets in the first place. The sandbox is for the day
when somebody finds one through V8.
"""

from __future__ import annotations

from isokernel.sandbox.confinement import (
    SandboxSettings,
    close_descriptors,
    confine,
    missing,
)

__all__ = ["SandboxSettings", "close_descriptors", "confine", "missing"]
