"""Messages for the client's log: what a person beside it should see at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from mcp_types import (
    LOG_LEVEL_META_KEY,
    LoggingLevel,
    LoggingMessageNotification,
    LoggingMessageNotificationParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from isoserver.mcp.peers import SessionNames

__all__ = ["send_notice"]

LEVELS: Final[tuple[LoggingLevel, ...]] = get_args(LoggingLevel)
"""From the least to the most severe."""
NOTICE: Final = "notice"
_LOGGER: Final = "isokernel"


async def send_notice(
    context: ServerRequestContext[Any, Any], names: SessionNames, text: str
) -> None:
    """Send a message about a request, if its client wants messages of that level.

    Args:
        context: The request.
        names: The levels of streamable HTTP connections.
        text: What to say.
    """
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        wanted = (context.meta or {}).get(LOG_LEVEL_META_KEY)
        if wanted is None:
            return
    else:
        wanted = names.level(context)
    if wanted in LEVELS and LEVELS.index(wanted) > LEVELS.index(NOTICE):
        return
    parameters = LoggingMessageNotificationParams(
        level=NOTICE, logger=_LOGGER, data=text
    )
    await context.session.send_notification(
        LoggingMessageNotification(params=parameters), context.request_id
    )
