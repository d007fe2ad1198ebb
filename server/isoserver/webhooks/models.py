"""What a request asks to be told."""

from __future__ import annotations

from pydantic import Field

from isoserver.http.models import RequestModel
from isoserver.webhooks.service import Webhook

__all__ = ["WebhookModel"]


class WebhookModel(RequestModel):
    """Where to tell that the run has ended, and what of it."""

    url: str = Field(
        min_length=1,
        max_length=2048,
        description="Where to; its host must be among those of `webhook_host`.",
        examples=["https://example.com/hooks/runs"],
    )
    output: bool = Field(
        default=False,
        description="Send its result and what it printed as well, 16 KiB of each.",
    )

    def order(self) -> Webhook:
        """Return what the service takes."""
        return Webhook(self.url, output=self.output)
