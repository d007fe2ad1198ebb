"""Carries packages to a machine without a network: one file, a tar of the cache's.

A pack can't be compared with its tarball's hash any more, as it holds what was found in
it too: an archive is to be trusted as the cache is.
"""

from __future__ import annotations

import io
import re
import tarfile
from typing import TYPE_CHECKING, Final

from isokernel.errors import PackageDamagedError
from isokernel.packages.packs import FORMAT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from isokernel.packages.cache import Cache

__all__ = ["export_packages", "import_packages"]

_NAME: Final = re.compile(
    rf"packs/{FORMAT}/[0-9a-f]{{2}}/[0-9a-f]{{128}}|metadata/[0-9a-f]{{16}}/[\w@%.~-]+",
    re.ASCII,
)


def export_packages(
    cache: Cache, packages: Iterable[tuple[str, str, str]], file: Path
) -> int:
    """Write packs, and what is known of their packages, to a file.

    Args:
        cache: Where they are.
        packages: Registries, names and integrities.
        file: What is written.

    Returns:
        How many packs it has.

    Raises:
        OSError: The file can't be written.
    """
    names = []
    count = 0
    for registry, name, integrity in packages:
        names += cache.files_of(registry, name, integrity)
        count += 1
    with tarfile.open(file, "w:gz") as archive:
        for name in dict.fromkeys(names):
            data = cache.read_file(name)
            if data is not None:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return count


def import_packages(cache: Cache, file: Path) -> int:
    """Put what an archive has into the cache.

    Returns:
        How many packs it had.

    Raises:
        PackageDamagedError: It is no such archive.
        OSError: It can't be read.
    """
    count = 0
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or not _NAME.fullmatch(member.name):
                    message = f"{file} isn't an archive of packages: {member.name!r}"
                    raise PackageDamagedError(message)
                cache.write_file(member.name, content.read())
                count += member.name.startswith("packs/")
    except (tarfile.TarError, EOFError) as error:
        message = f"{file} isn't an archive of packages: {error}"
        raise PackageDamagedError(message) from error
    return count
