"""JupyterLab as the front of a server: started so, and shown all of its contexts.

`Contexts` runs in JupyterLab's server, which is told of it by its own setting
`ServerApp.kernel_manager_class`; nothing else here imports jupyter_server.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jupyter_server.gateway.gateway_client import gateway_request
from jupyter_server.gateway.managers import GatewayMappingKernelManager
from tornado.escape import json_decode
from tornado.web import HTTPError

__all__ = ["Contexts"]

_NOTEBOOK: Final = "JPY_SESSION_NAME"
"""Where jupyter_server says which document a kernel is started for."""
_BYTES_MAX: Final = 64 << 20
"""Of a notebook that is looked into."""
_STATES: Final = {"idle", "busy"}


def _named_kernel(place: str) -> str:
    """Return the kernel that a notebook of a context's history names; or nothing."""
    path = Path(place)
    with suppress(OSError, ValueError, LookupError, TypeError):
        if path.suffix == ".ipynb" and path.stat().st_size <= _BYTES_MAX:
            of = json.loads(path.read_bytes())["metadata"]["isokernel"]
            return str(of["kernel_id"])
    return ""


class Contexts(GatewayMappingKernelManager):  # type: ignore[misc] # it has no types
    """Kernels behind a gateway, also those that this JupyterLab hasn't started.

    A gateway's client lists only its own, and ends all that it knows when it ends.
    """

    def __init__(self, **given: Any) -> None:
        """Begin with none; called by jupyter_server."""
        super().__init__(**given)
        self._adopted: set[str] = set()

    async def list_kernels(self, **given: Any) -> list[dict[str, Any]]:
        """Return the models of all contexts of the server."""
        answer = await gateway_request(self.kernels_url, method="GET")
        for model in json_decode(answer.body):
            if model["id"] not in self._kernels:
                await self.start_kernel(kernel_id=model["id"])
                self._adopted.add(model["id"])
        models: list[dict[str, Any]] = await super().list_kernels(**given)
        return models

    async def start_kernel(
        self, *, kernel_id: str | None = None, path: str | None = None, **given: Any
    ) -> str:
        """Start a kernel; called by jupyter_server.

        A notebook of a context's history (`GET /contexts/{id}/notebook`) goes on in
        that context, if it is there and of the kernel that is asked for.
        """
        if kernel_id is None:
            place = str((given.get("env") or {}).get(_NOTEBOOK, ""))
            named = await asyncio.to_thread(_named_kernel, place)
            if named and await self._is_there(named, given.get("kernel_name")):
                kernel_id = named
                self._adopted.add(named)
        started: str = await super().start_kernel(
            kernel_id=kernel_id, path=path, **given
        )
        return started

    async def _is_there(self, kernel_id: str, name: str | None) -> bool:
        with suppress(HTTPError, ValueError):
            place = f"{self.kernels_url}/{quote(kernel_id, safe='')}"
            answer = await gateway_request(place, method="GET")
            model = json_decode(answer.body)
            return model["name"] == name and model["execution_state"] in _STATES
        return False

    async def shutdown_all(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - its own
        """End what this JupyterLab has started; called by jupyter_server at its end."""
        for kernel_id in self._adopted:
            self.remove_kernel(kernel_id)
        await super().shutdown_all(now=now)
