"""Settings of packages; `isokernel.packages` has what they mean."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - read at run time
from typing import TYPE_CHECKING

from isoserver.settings.fields import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
    setting,
)

if TYPE_CHECKING:
    from isokernel.packages.settings import PackageSettings as KernelSettings

__all__ = ["PackageSettings"]

_MIB = 1 << 20


class PackageSettings(Settings):
    """Where packages come from and are kept. Times are in seconds, sizes in bytes."""

    package_cache_dir: Path | None = setting(
        None,
        "The folder of packages, which servers and notebooks share; if "
        "unset, isokernel/packages in XDG_CACHE_HOME, or in ~/.cache.",
    )
    package_npmrc: Path | None = setting(
        None,
        "A .npmrc with registries and tokens; npm's registry without them if unset.",
    )
    package_offline: bool = setting(
        False, "Fetch no packages: what isn't in the folder is an error."
    )
    package_conditions: list[str] = setting(
        ["edge-light", "browser"],
        "Conditions in exports and imports of package.json, beside import "
        "or require, and default.",
    )
    package_cache_bytes_max: PositiveInt = setting(
        4096 * _MIB, "Bytes of the folder; those unused longest go first."
    )
    package_tarball_bytes_max: PositiveInt = setting(
        128 * _MIB, "Bytes of one package as it is downloaded."
    )
    package_unpacked_bytes_max: PositiveInt = setting(512 * _MIB, "Bytes of its files.")
    package_files_max: PositiveInt = setting(50_000, "How many files it may have.")
    package_metadata_bytes_max: PositiveInt = setting(
        64 * _MIB, "Bytes that a registry may say of one package."
    )
    package_metadata_fresh_seconds: NonNegativeFloat = setting(
        3600.0, "How long what a registry has said holds; then it is asked anew."
    )
    package_request_timeout_seconds: PositiveFloat = setting(
        30.0, "How long a registry may say nothing."
    )
    package_download_timeout_seconds: PositiveFloat = setting(
        300.0, "How long one package may take to come."
    )
    package_pack_timeout_seconds: PositiveFloat = setting(
        120.0, "How long it may take to unpack and look through."
    )
    package_retries_max: NonNegativeInt = setting(
        2, "How often a request that a registry fails is sent again."
    )
    package_downloads_max: PositiveInt = setting(8, "Requests to registries at a time.")
    package_graph_modules_max: PositiveInt = setting(
        20_000, "Modules that one import may load."
    )
    package_graph_bytes_max: PositiveInt = setting(
        256 * _MIB, "Bytes of these modules."
    )
    package_graphs_kept_bytes_max: NonNegativeInt = setting(
        64 * _MIB,
        "Bytes of what imports have loaded that are kept in memory, for the same "
        "imports of other contexts.",
    )
    package_code_cache: bool = setting(
        True, "Keep what V8 has made of modules, so that they are compiled once."
    )
    packages_max: PositiveInt = setting(2000, "Packages that one context may load.")

    def package_settings(self, *, sandbox: bool) -> KernelSettings:
        """Return these settings as packages take them.

        Args:
            sandbox: Whether what unpacks packages is confined.

        Raises:
            PackageError: The .npmrc can't be read.
        """
        from isokernel.packages.npmrc import (  # noqa: PLC0415 - few servers need it
            Npmrc,
            load_npmrc,
        )
        from isokernel.packages.settings import (  # noqa: PLC0415 - as above
            PackageSettings as KernelSettings,
        )
        from isokernel.packages.settings import default_cache_dir  # noqa: PLC0415
        from isokernel.sandbox import SandboxSettings  # noqa: PLC0415 - as above

        npmrc, folder = self.package_npmrc, self.package_cache_dir
        same = {
            name: getattr(self, f"package_{name}")
            for name in KernelSettings._fields
            if hasattr(self, f"package_{name}")
        }
        return KernelSettings(
            **{
                **same,
                "cache_dir": default_cache_dir() if folder is None else str(folder),
                "npmrc": Npmrc() if npmrc is None else load_npmrc(str(npmrc)),
                "conditions": tuple(self.package_conditions),
                "packages_max": self.packages_max,
                "sandbox": SandboxSettings() if sandbox else None,
            }
        )
