"""Settings of several servers on one database."""

from __future__ import annotations

from typing import Annotated, Any, Final

from isoserver.errors import InvalidSettingsError
from isoserver.settings.fields import Limits, Settings, setting

__all__ = ["ClusterSettings"]

_SECRET_LENGTH_MIN: Final = 24
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - not to listen there
_POSTGRESQL: Final = ("postgresql", "postgres")


class ClusterSettings(Settings):
    """What a server among others is told. Times are in seconds."""

    cluster: bool = setting(
        False, "Be one of several servers on one PostgreSQL and one heap_store."
    )
    cluster_url: (
        Annotated[
            str,
            Limits(
                pattern=r"http://[^\s/]+", words="a URL such as http://10.0.0.7:3000"
            ),
        ]
        | None
    ) = setting(
        None,
        "The URL at which the other servers reach this one; if unset, the one at which "
        "it listens.",
    )
    cluster_secret: (
        Annotated[
            str,
            Limits(
                pattern=rf"[!-~]{{{_SECRET_LENGTH_MIN},}}",
                words=f"{_SECRET_LENGTH_MIN} or more ASCII characters, no spaces",
            ),
        ]
        | None
    ) = setting(
        None, "A secret by which the servers know each other's requests.", shown=False
    )
    cluster_lease_seconds: Annotated[float, Limits(ge=1, le=600)] = setting(
        10.0,
        "Seconds without the database after which a server stops serving, and others "
        "may take over what it has.",
    )

    def check_cluster(self) -> None:
        """Check that what a cluster needs is there.

        Raises:
            InvalidSettingsError: Something is missing.
        """
        if not self.cluster:
            return
        # Of the server's settings, of which this class is a part.
        whole: Any = self
        problems = []
        scheme = (whole.database_url or "").partition(":")[0].partition("+")[0]
        if scheme not in _POSTGRESQL:
            problems.append("cluster: needs a PostgreSQL (database_url)")
        if whole.heap_store is None:
            problems.append("cluster: needs a store of heaps for all (heap_store)")
        if self.cluster_secret is None:
            problems.append("cluster: needs a secret of the servers (cluster_secret)")
        if self.cluster_url is None and whole.host in _EVERYWHERE:
            problems.append(
                "cluster: needs a URL at which others reach this server "
                f"(cluster_url), as host is {whole.host}"
            )
        if problems:
            raise InvalidSettingsError(*problems)
