"""JupyterLab as the front of a server: started so, and shown all of its contexts.

`Contexts` runs in JupyterLab's server, which is told of it by its own setting
`ServerApp.kernel_manager_class`; nothing else here imports jupyter_server.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.gateway.gateway_client import gateway_request
from jupyter_server.gateway.managers import GatewayMappingKernelManager
from tornado.escape import json_decode

__all__ = ["Contexts"]


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

    async def shutdown_all(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - its own
        """End what this JupyterLab has started; called by jupyter_server at its end."""
        for kernel_id in self._adopted:
            self.remove_kernel(kernel_id)
        await super().shutdown_all(now=now)
