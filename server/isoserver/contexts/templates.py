"""Templates: contexts that have loaded packages, from which others are forked.

A template belongs to no workspace: it runs nothing but the imports, may ask for modules
alone, and is never given to anybody. Whoever wants a context with its packages has each
of them decided by the own policy first, as if the context had imported them itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

from isokernel.capabilities import read_policy
from isokernel.capabilities.holder import failed
from isokernel.errors import CapabilityDeniedError
from isoserver.contexts.context import Identity, State, new_id
from isoserver.errors import (
    FieldProblem,
    ForkError,
    InvalidRequestError,
    PackagesDeniedError,
    PackagesError,
    ServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from structlog.typing import FilteringBoundLogger

    from isokernel.capabilities import Answered, Policy, Stage
    from isoserver.contexts.calls import CallHolder, Request
    from isoserver.contexts.context import Context
    from isoserver.contexts.jobs import Execution
    from isoserver.contexts.languages import Language
    from isoserver.settings.server import ServerSettings

    Make: TypeAlias = Callable[[Identity, CallHolder], Context]
    """Makes a context that isn't started, and is in no list."""

__all__ = ["Templates"]

_NO_NETWORK: Final = read_policy({"net": "off"}, setting="no template may have it: net")
_MODULES: Final = "modules."
_ATTEMPTS: Final = 2
_SCHEMES: Final = ("npm:", "jsr:")
_UNSTORED: Final = {"store_history": False}
_WARM_UP: Final = "import 'node:os'; ({ a: 1 + 1 })"
_WARM_UP_SECONDS: Final = 10.0
_FILL_SECONDS: Final = 0.1
"""After so long a spare fork is made: its context's first cell has run by then."""
_PLACE: Final = re.compile(r"\bnpm:/\S+:\d+:\d+")
_NOBODYS: Final = ""
"""The workspace of the templates that the settings name."""


class _Key(NamedTuple):
    """What two contexts have in common that can come from one template."""

    packages: tuple[str, ...]
    language: str
    heap_memory_max_bytes: int | None


class _Template:
    """A template.

    Attributes:
        context: The one that is forked.
        calls: What it may ask for.
        lock: Its packages.
        made: When, by the monotonic clock: what registries say changes.
        spare: A fork of it that waits, and has run a cell: a process that was just
            forked gets each page of memory at its first touch.
        filling: What makes a spare one.
    """

    def __init__(self, context: Context, calls: _TemplateCalls) -> None:
        self.context = context
        self.calls = calls
        self.lock = context.calls.lock
        self.made = time.monotonic()
        self.spare: Context | None = None
        self.filling: asyncio.Task[None] | None = None


class Templates:
    """The templates of one server. Used from the event loop."""

    def __init__(
        self,
        settings: ServerSettings,
        make: Make,
        calls: CallHolder | None,
        log: FilteringBoundLogger,
    ) -> None:
        """Have none yet.

        Args:
            settings: The server's settings.
            make: Makes the contexts.
            calls: Answers their calls for modules.
            log: Told of templates of the settings that can't be made.
        """
        self._settings = settings
        self._make_context = make
        self._calls = calls
        self._log = log
        self._templates: dict[_Key, _Template] = {}  # the one used last is the last
        self._locks: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()
        self._preparing: asyncio.Task[None] | None = None

    def start(self, language: Language) -> None:
        """Make those that the settings name, one after the other, in the background.

        Args:
            language: Theirs.
        """
        self._preparing = asyncio.ensure_future(self._prepare(language))

    async def _prepare(self, language: Language) -> None:
        memory = self._settings.v8_heap_bytes_max
        for text in self._settings.context_templates:
            identity = Identity(_NOBODYS, new_id(), language, "", memory)
            try:
                await self._find(identity, text.split(), ())
            except ServerError as error:
                self._log.warning("no template", packages=text, reason=str(error))

    async def begin(self, context: Context, packages: Sequence[str]) -> None:
        """Start a context that has packages loaded.

        Args:
            context: It isn't started.
            packages: Names, each perhaps with a range.

        Raises:
            InvalidRequestError: It can't be one with packages.
            PackagesDeniedError: A policy doesn't allow them.
            PackagesError: They can't be loaded.
            ForkError: Its process could not be forked.
        """
        self._check(context, packages)
        assert self._calls is not None  # noqa: S101 - else it is refused above
        narrowing = self._calls.of_context(context.key)
        policies = () if narrowing is None else (narrowing,)
        for left in range(_ATTEMPTS - 1, -1, -1):
            template = await self._find(context.identity, packages, policies)
            try:
                await self._calls.allow_packages(
                    context.identity, template.lock, policies
                )
            except CapabilityDeniedError as error:
                raise PackagesDeniedError(str(error)) from error
            try:
                await self._give(template, context)
            except (ServerError, OSError) as error:
                await self._drop(template)
                if not left or context.state is not State.STARTING:
                    message = f"the template of the packages can't be forked: {error}"
                    raise ForkError(message) from error
            else:
                return

    async def _give(self, template: _Template, context: Context) -> None:
        """Start a context with a fork of a template."""
        spare, template.spare = template.spare, None
        if spare is not None and not spare.is_quiet():
            await self._end(spare)
            spare = None
        if spare is not None:
            context.take_process(spare)
            await self._forget(spare)
        else:
            await template.context.fork_into(context)
            context.process.pass_on(context.identity, context)
        context.calls.begin(template.lock)
        if self._lacks_spare(template):
            template.filling = asyncio.ensure_future(self._fill(template))

    def _lacks_spare(self, template: _Template) -> bool:
        filling = template.filling is not None and not template.filling.done()
        kept = template in self._templates.values()  # else it was dropped meanwhile
        return kept and template.spare is None and not filling

    async def _fill(self, template: _Template) -> None:
        """Have a fork of a template wait for the next context."""
        await asyncio.sleep(_FILL_SECONDS)
        origin = template.context
        spare = self._make_context(
            origin.identity._replace(id=f"template-{new_id()}"), template.calls
        )
        try:
            await origin.fork_into(spare)
            job = spare.execute(_WARM_UP, _WARM_UP_SECONDS, options=_UNSTORED)
            await job.done
            spare.history.clear()
            spare.execution_count = 0
        except (ServerError, OSError):  # the next context is told
            await self._end(spare)
        except BaseException:
            await self._end(spare)
            raise
        else:
            template.spare = spare

    def _check(self, context: Context, packages: Sequence[str]) -> None:
        problem = ""
        process = context.process
        if not process.can_fork or not process.can_call_tools:
            problem = f"a {context.language.name} context can't have packages loaded"
        elif self._calls is None or not self._settings.context_templates_max:
            problem = "templates are off (context_templates_max)"
        elif any(not name or name != name.strip() for name in packages):
            problem = "a package has no name"
        if problem:
            raise InvalidRequestError(FieldProblem("packages", problem))

    # -- templates ---------------------------------------------------------------------

    async def _find(
        self, identity: Identity, packages: Sequence[str], policies: Sequence[Policy]
    ) -> _Template:
        """Return the template of some packages, made if there is none."""
        memory = identity.heap_memory_max_bytes
        key = _Key(tuple(packages), identity.language.name, memory)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            template = self._templates.get(key)
            if template is not None and self._is_old(template):
                await self._drop(template)
                template = None
            if template is None:
                template = await self._make(key, identity, policies)
            self._templates.pop(key, None)
            self._templates[key] = template
            while len(self._templates) > self._settings.context_templates_max:
                await self._drop(next(iter(self._templates.values())))
        return template

    def _is_old(self, template: _Template) -> bool:
        age = time.monotonic() - template.made
        old = age > self._settings.context_template_seconds_max
        return old or template.context.state is State.DEAD

    async def _make(
        self, key: _Key, identity: Identity, policies: Sequence[Policy]
    ) -> _Template:
        assert self._calls is not None  # noqa: S101 - else nobody comes here
        calls = _TemplateCalls(self._calls, policies)
        context = self._make_context(
            identity._replace(id=f"template-{new_id()}"), calls
        )
        try:
            await context.start()
            seconds = self._settings.context_template_timeout_seconds
            job = context.execute(_code(key.packages), seconds, options=_UNSTORED)
            await job.done
            calls.is_open = False
            _check_loaded(job)
        except BaseException:
            await self._end(context)
            raise
        context.history.clear()
        context.execution_count = 0
        template = _Template(context, calls)
        template.filling = asyncio.ensure_future(self._fill(template))
        return template

    async def _drop(self, template: _Template) -> None:
        for key, known in list(self._templates.items()):
            if known is template:
                del self._templates[key]
        filling, template.filling = template.filling, None
        if filling is not None:
            filling.cancel()
            await asyncio.wait([filling])
        spare, template.spare = template.spare, None
        for context in (spare, template.context):
            if context is not None:
                await self._end(context)

    async def _end(self, context: Context) -> None:
        await context.close("the template was dropped")
        await self._forget(context)

    async def _forget(self, context: Context) -> None:
        if self._calls is not None:
            await self._calls.forget(context.key)

    async def sweep(self) -> None:
        """End those that are too old."""
        for template in list(self._templates.values()):
            if self._is_old(template):
                await self._drop(template)

    async def close(self) -> None:
        """End all."""
        if self._preparing is not None:
            self._preparing.cancel()
            with suppress(asyncio.CancelledError):
                await self._preparing
        for template in list(self._templates.values()):
            await self._drop(template)


class _TemplateCalls:
    """What a template may ask for: modules, by the policies of who wants it made.

    Code of packages runs in it, and what it learnt would go to other workspaces: so it
    has no files, no network, no variables; and nothing at all once it is made.

    Attributes:
        is_open: Whether it may ask for anything.
    """

    def __init__(self, calls: CallHolder, policies: Sequence[Policy]) -> None:
        self.is_open = True
        self._calls = calls
        self._policies = (*policies, _NO_NETWORK)

    def grant(self, identity: Identity) -> Any:
        return self._calls.grant(identity)

    async def answer(
        self,
        request: Request,
        granted: Any,
        narrowing: Callable[[], Sequence[Policy]],
        waiting: Callable[[bool], None],
        tell: Callable[[Stage], None],
    ) -> Answered:
        del narrowing
        if not self.is_open or not request.name.startswith(_MODULES):
            capability = request.name.partition(".")[0]
            reason = "packages of templates may load modules only, when they are loaded"
            setting = "a context without `packages`"
            return failed(
                CapabilityDeniedError(capability, request.name, setting, reason=reason)
            )
        return await self._calls.answer(
            request, granted, lambda: self._policies, waiting, tell
        )

    async def store(
        self,
        key: tuple[str, str],
        narrowing: Sequence[Policy],
        path: str,
        data: bytes,
    ) -> bool:
        del key, narrowing, path, data
        return False

    async def close(self, granted: Any) -> None:
        await self._calls.close(granted)

    def of_context(self, key: tuple[str, str]) -> Policy | None:
        return self._calls.of_context(key)

    def environment(
        self, workspace: str, narrowing: Sequence[Policy]
    ) -> Mapping[str, str]:
        del workspace, narrowing
        return {}

    def given(self, key: tuple[str, str]) -> dict[str, Any]:
        return self._calls.given(key)

    async def set(self, key: tuple[str, str], given: dict[str, Any]) -> None:
        await self._calls.set(key, given)

    async def allow_packages(
        self, identity: Identity, lock: Mapping[str, Any], policies: Sequence[Policy]
    ) -> None:
        await self._calls.allow_packages(identity, lock, policies)

    def lock(self, key: tuple[str, str]) -> dict[str, Any]:
        return self._calls.lock(key)

    def set_lock(self, key: tuple[str, str], lock: Mapping[str, Any]) -> None:
        self._calls.set_lock(key, lock)

    async def forget(self, key: tuple[str, str]) -> None:
        await self._calls.forget(key)


def _check_loaded(job: Execution) -> None:
    if job.failure is None:
        return
    name, value = job.failure.name, job.failure.value
    if name == CapabilityDeniedError.__name__:
        raise PackagesDeniedError(value)
    message = f"the packages can't be loaded: {name}: {value}"
    found = _PLACE.search(job.failure.traceback)
    if found is not None:  # only that may say which of them it was
        message += f" (at {found[0]})"
    raise PackagesError(message)


def _code(packages: Sequence[str]) -> str:
    """Return what imports packages by all the names that code may have for them."""
    lines = []
    for package in packages:
        scheme = next((one for one in _SCHEMES if package.startswith(one)), "")
        bare = package.removeprefix(scheme)
        at = bare.find("@", 1)
        name = bare if at < 0 else bare[:at]
        first = f"{scheme or 'npm:'}{bare}"
        lines.append(f"await import({json.dumps(first)});")
        others = {
            f"{scheme or 'npm:'}{name}",
            *([] if scheme == "jsr:" else [name, bare]),
        }
        lines += [
            f"try {{ await import({json.dumps(other)}); }} catch {{}}"
            for other in sorted(others - {first})
        ]
    return "\n".join([*lines, "undefined"])
