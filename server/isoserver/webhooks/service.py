"""Webhooks: ordered with a run, sent when it has ended, again until they are taken.

A webhook has a row from its order until it is delivered or given up, so that it
outlives the server. What is sent is signed by a secret of its workspace, the way that
https://www.standardwebhooks.com has it: a receiver checks the signature, and drops what
it has had before by its id.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec

from isokernel.capabilities.hosts import PORTS, read_host
from isokernel.timeouts import timeout
from isoserver.errors import (
    DatabaseError,
    FieldProblem,
    InvalidRequestError,
    WebhookLimitError,
)
from isoserver.principal import DEFAULT_WORKSPACE
from isoserver.settings.webhooks import read_receivers
from isoserver.storage.tasks import end_tasks
from isoserver.tools.audit import Audit, Entry
from isoserver.webhooks.store import PendingWebhook, WebhookStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from isoserver.settings.server import ServerSettings
    from isoserver.storage.database import Database
    from isoserver.webhooks.sender import Outcome, Sender

    Tell: TypeAlias = Callable[[PendingWebhook], Awaitable["Told | None"]]

__all__ = ["PART_BYTES_MAX", "Told", "Webhook", "Webhooks", "is_allowed"]

Told: TypeAlias = tuple[str, dict[str, Any]]
"""An event's name, such as `execution.ended`, and what is told of it, as plain data."""
PART_BYTES_MAX: Final = 16 * 1024
"""Of a result, and of what was printed, in a body."""
_GROWTH: Final = 4.0
_JITTER: Final = 0.1
_ORIGIN_CHARACTERS_MAX: Final = 200
_PAUSE_SECONDS: Final = 1.0
"""Between attempts to read or write the table, while the database can't be used."""
_TELLING_MAX: Final = 4
"""How many are written down at a time: each is a transaction, and others have some."""
_UNDOING_MAX: Final = 1000
"""How many may wait to be written down, for one that was refused to be removed."""
_RANDOM: Final = random.Random()  # noqa: S311 - spreads attempts


class Webhook(NamedTuple):
    """What is ordered.

    Attributes:
        url: Where it is sent.
        output: Whether result and output are wanted.
    """

    url: str
    output: bool = False


class WebhookObserver(Protocol):
    """Counts what becomes of webhooks (the metrics)."""

    def webhook(self, outcome: str) -> None:
        """Count an attempt: delivered, failed, or given_up."""


def is_allowed(url: str, allowed: list[str]) -> bool:
    """Whether a URL is at a host, and a port, that a setting names."""
    parts = urlsplit(url)
    usual = PORTS[parts.scheme]
    named = parts.hostname or ""
    try:
        host = read_host(f"[{named}]" if ":" in named else named).name
    except ValueError:
        host = ""  # only the resolver knows: an entry for all hosts may allow it
    for entry in allowed:
        name, number, any_port = read_receivers(entry)
        below = name.startswith("*.") and host.endswith(name[1:])
        if (name in {"*", host} or below) and (
            any_port or (parts.port or usual) == (number or usual)
        ):
            return True
    return False


def _origin(url: str) -> str:
    """Return scheme, host and port of a URL: what of it may be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"[:_ORIGIN_CHARACTERS_MAX]


class Webhooks:
    """The webhooks of one server. In the event loop only.

    Attributes:
        carried: Returns headers that an attempt has besides.
    """

    def __init__(
        self,
        settings: ServerSettings,
        database: Database,
        audit: Audit,
        observer: WebhookObserver,
        log: FilteringBoundLogger,
    ) -> None:
        """Begin with none; `start` begins to send.

        Args:
            settings: The server's settings.
            database: Where they are kept.
            audit: Where their ends are noted.
            observer: Counts attempts.
            log: Told of what can't be delivered.
        """
        self.carried: Callable[[], dict[str, str]] = dict
        self._settings = settings
        self._store = WebhookStore(database, shared=settings.cluster)
        self._audit = audit
        self._observer = observer
        self._log = log
        self._secrets = {DEFAULT_WORKSPACE: tuple(settings.webhook_secret)}
        for each in settings.workspaces:
            found = tuple(secret.secret for secret in each.webhook_secrets)
            if found:
                self._secrets[each.name] = found
        self._sender: Sender | None = None
        self._pending: Counter[str] = Counter()
        self._ordered: dict[tuple[str, str], PendingWebhook] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._busy: Counter[str] = Counter()
        self._telling: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(_TELLING_MAX)
        self._away = False
        self._closing = asyncio.Event()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # -- the server's life -------------------------------------------------------------

    async def start(self) -> list[PendingWebhook]:
        """Begin to send.

        Returns:
            Those whose run has not ended as far as the last server has told; `tell`
            or `forget` must follow for each.
        """
        self._pending.update(await self._store.counts())
        lost = await self._store.waiting()
        self._ordered.update({(row.workspace, row.subject): row for row in lost})
        self._task = asyncio.ensure_future(self._run())
        return lost

    async def adopt(self) -> list[PendingWebhook]:
        """Take over from servers that are gone; as `start`, and as often as wanted."""
        lost, counts = await self._store.take()
        self._pending.update(counts)
        self._ordered.update({(row.workspace, row.subject): row for row in lost})
        self._wanted.set()
        return lost

    async def close(self) -> None:
        """Send no more; what isn't delivered is sent by the next server."""
        self._closing.set()
        await self.settle()
        await end_tasks(self._task, *self._sending.values())
        if self._sender is not None:
            await self._sender.close()

    # -- orders ------------------------------------------------------------------------

    def check(self, workspace: str, asked: Webhook) -> None:
        """Check that a webhook can be sent, before its run is taken.

        Raises:
            InvalidRequestError: Its URL is none, or at a host that isn't allowed; or
                there is nothing to sign it with.
            WebhookLimitError: Too many are pending.
        """
        problem = self._problem(workspace, asked.url)
        if problem:
            raise InvalidRequestError(FieldProblem("webhook.url", problem))
        limit = self._settings.webhooks_pending_max
        if self._pending.total() >= limit:
            raise WebhookLimitError(limit)
        share = self._settings.share_of(limit)
        if self._pending[workspace] >= share < limit:
            raise WebhookLimitError(share, shared=True)

    def _problem(self, workspace: str, url: str) -> str:
        try:
            parts = urlsplit(url)
            known = parts.scheme in PORTS and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or not url.isascii() or not url.isprintable() or " " in url:
            return "must be a URL of http or https"
        if parts.username is not None or parts.password is not None or parts.fragment:
            return "must be a URL without a user, password or fragment"
        if not is_allowed(url, self._settings.webhook_host):
            return f"{_origin(url)} is not allowed (webhook_host)"
        if not self._secrets.get(workspace):
            setting = "webhook_secret"
            if workspace != DEFAULT_WORKSPACE:
                setting = "webhook_secrets of the workspace"
            return f"there is no secret to sign with ({setting})"
        return ""

    async def order(
        self, workspace: str, asked: Webhook, kind: str, subject: str, client: str = ""
    ) -> None:
        """Write down what is to be sent when a run has ended.

        Args:
            workspace: Who orders it.
            asked: What is ordered; `check` has let it pass.
            kind: What kind of run it is.
            subject: Its id, unique in the workspace.
            client: Who orders it, within the workspace.

        Raises:
            DatabaseError: It can't be written.
        """
        row = PendingWebhook(
            f"msg_{secrets.token_urlsafe(16)}",
            *(workspace, kind, subject, client, asked.url, asked.output),
        )
        self._pending[workspace] += 1
        try:
            await self._store.add(row)
        except BaseException:
            if len(self._telling) < _UNDOING_MAX:  # else the next server does it
                self._tell_soon(row, _nothing)  # its row may be there all the same
            else:
                self._pending[workspace] -= 1
            raise
        self._ordered[workspace, subject] = row

    def forget(self, workspace: str, subject: str) -> None:
        """Send nothing after all, in the background: there is no such run."""
        self.tell(workspace, subject, _nothing)

    def end_soon(
        self, workspace: str, subject: str, kind: str, data: dict[str, Any]
    ) -> None:
        """Send what is ordered for a run that has ended, in the background.

        Args:
            workspace: Who owns it.
            subject: The run's id.
            kind: The event's name.
            data: What is told of it.
        """

        async def told(_: PendingWebhook) -> Told:
            return kind, data

        self.tell(workspace, subject, told)

    def tell(self, workspace: str, subject: str, told: Tell) -> None:
        """Send what is ordered for a run that has ended, in the background.

        While the database is away, nobody else knows that it is due: it is tried again
        until it is written down, or the server ends; `close` waits for that.

        Args:
            workspace: Who owns the run.
            subject: The run's id.
            told: Called with what is ordered, and again after each `DatabaseError`;
                returns what is told, or None to send nothing after all.
        """
        row = self._ordered.pop((workspace, subject), None)
        if row is not None:
            self._tell_soon(row, told)

    async def settle(self) -> None:
        """Wait until all that was told so far is written down."""
        if self._telling:
            await asyncio.wait(self._telling)

    def _tell_soon(self, row: PendingWebhook, told: Tell) -> None:
        task = asyncio.ensure_future(self._tell(row, told, time.time()))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self, row: PendingWebhook, told: Tell, ended_at: float) -> None:
        async with self._places:
            if self._closing.is_set() and self._away:
                return
            while not await self._is_told(row, told, ended_at):
                if self._closing.is_set():
                    return
                with suppress(asyncio.TimeoutError):
                    async with timeout(_PAUSE_SECONDS):
                        await self._closing.wait()

    async def _is_told(self, row: PendingWebhook, told: Tell, ended_at: float) -> bool:
        """Try to write down what is told; return False if that may succeed later."""
        try:
            await self._write_down(row, await told(row), ended_at)
        except DatabaseError as error:
            self._away = True
            self._log.error("a webhook can't be kept", id=row.id, reason=str(error))
            return False
        except Exception:  # noqa: BLE001 - nobody else would say so
            self._log.exception("a webhook can't be told", id=row.id)
            return True
        self._away = False
        self._wanted.set()
        return True

    async def _write_down(
        self, row: PendingWebhook, told: Told | None, ended_at: float
    ) -> None:
        """Have it be due, or be none any more if nothing is told."""
        if told is None:
            await self._remove(row)
            return
        kind, data = told
        moment = datetime.fromtimestamp(ended_at, timezone.utc).isoformat()
        body = {"type": kind, "timestamp": moment.replace("+00:00", "Z"), "data": data}
        text = msgspec.json.encode(body, enc_hook=str).decode()
        await self._store.change(row._replace(body=text, next_at=ended_at))

    # -- sending -----------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._wanted.clear()
            try:
                seconds = await self._begin_due()
            except DatabaseError as error:
                self._log.warning("webhooks can't be read", reason=str(error))
                seconds = _PAUSE_SECONDS
            except Exception:  # noqa: BLE001 - else nothing would be sent any more
                self._log.exception("webhooks can't be read")
                seconds = _PAUSE_SECONDS
            with suppress(asyncio.TimeoutError):
                async with timeout(seconds):
                    await self._wanted.wait()

    async def _begin_due(self) -> float | None:
        """Begin to send what is due; return the seconds until more will be, if any."""
        now, settings = time.time(), self._settings
        running = settings.webhooks_running_max
        share = settings.share_of(running)
        while len(self._sending) < running:
            full = [name for name, number in self._busy.items() if number >= share]
            due = await self._store.due(now, running, full, list(self._sending))
            if not due:
                break
            for row in due[: running - len(self._sending)]:
                if self._busy[row.workspace] < share:
                    self._busy[row.workspace] += 1
                    self._sending[row.id] = asyncio.ensure_future(self._deliver(row))
        # Those for which there is no place begin when one of these ends.
        following = await self._store.next_at(now)
        return None if following is None else max(following - time.time(), 0.01)

    async def _deliver(self, row: PendingWebhook) -> None:
        try:
            await self._attempt(row)
        except DatabaseError as error:
            self._log.error("a webhook can't be kept", id=row.id, reason=str(error))
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._busy[row.workspace] -= 1
            self._sending.pop(row.id, None)
            self._wanted.set()

    async def _attempt(self, row: PendingWebhook) -> None:
        began, body = time.monotonic(), row.body or ""
        # What is allowed may have changed since it was ordered.
        problem = self._problem(row.workspace, row.url)
        if problem:
            await self._give_up(row, problem, began)
            return
        moment = int(time.time())
        # Made when it is first needed: httpx takes 0.1 s of a start.
        sending = await asyncio.to_thread(import_module, "isoserver.webhooks.sender")
        if self._sender is None:
            self._sender = sending.Sender(
                self._settings.webhook_timeout_seconds,
                private=self._settings.webhook_private,
            )
        signers = self._secrets[row.workspace]
        headers = {
            **self.carried(),
            "webhook-id": row.id,
            "webhook-timestamp": str(moment),
            "webhook-signature": sending.sign(signers, row.id, moment, body),
        }
        outcome = await self._sender.send(row.url, headers, body)
        row = row._replace(attempts=row.attempts + 1)
        if outcome.delivered:
            self._observer.webhook("delivered")
            await self._remove(row)
            await self._note(row, began, "completed")
        elif outcome.final or row.attempts >= self._settings.webhook_attempts_max:
            await self._give_up(row, outcome.reason, began)
        else:
            self._observer.webhook("failed")
            again = time.time() + self._wait_seconds(row.attempts, outcome)
            await self._store.change(row._replace(next_at=again))
            self._log.info(
                "a webhook failed",
                id=row.id,
                attempt=row.attempts,
                host=_origin(row.url),
                reason=outcome.reason,
            )

    def _wait_seconds(self, attempts: int, outcome: Outcome) -> float:
        most = self._settings.webhook_retry_seconds_max
        wait = self._settings.webhook_retry_seconds * _GROWTH ** min(attempts - 1, 20)
        spread = 1 + _JITTER * _RANDOM.random()
        return min(max(wait * spread, outcome.wait_seconds), most)

    async def _give_up(self, row: PendingWebhook, reason: str, began: float) -> None:
        self._observer.webhook("given_up")
        self._log.warning(
            "a webhook was given up",
            id=row.id,
            attempts=row.attempts,
            host=_origin(row.url),
            reason=reason,
        )
        await self._remove(row)
        await self._note(row, began, "failed", reason)

    async def _remove(self, row: PendingWebhook) -> None:
        await self._store.remove([row.id])
        self._pending[row.workspace] -= 1

    async def _note(
        self, row: PendingWebhook, began: float, outcome: str, reason: str = ""
    ) -> None:
        """Note in the audit what became of it."""
        entry = Entry(
            row.workspace,
            "webhook",
            row.client,
            _origin(row.url),
            task_id=row.subject,
            call_id=row.id,
            outcome=outcome,
            reason=reason,
            ms=round((time.monotonic() - began) * 1e3),
        )
        await self._audit.add(entry)


async def _nothing(_: PendingWebhook) -> None:
    """Tell nothing."""
