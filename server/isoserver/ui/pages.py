"""What all pages of the UI have in common: who looks, what may act, how it is shown.

A page asks the parts of the server for the same as the API does, with the rights of
the same keys. Browsers send no keys when they navigate; so a key or token is signed in
with once, and a cookie stands in for it, here and nowhere else. What changes something
is a POST, which must come from one of these pages.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Final

from isoserver.errors import (
    CredentialError,
    OriginError,
    RouteMissingError,
    ServerError,
)
from isoserver.http.handlers import Handler
from isoserver.ui.text import segment

if TYPE_CHECKING:
    from isoserver.access.signins import SignIn

__all__ = [
    "MissingPage",
    "Page",
    "SignInPage",
    "SignOutPage",
    "StartPage",
    "StaticPage",
    "address",
]

FOLDER: Final = "/ui/"
"""Below which all pages are."""
LIVE_SECONDS: Final = 0.7
"""After which a page is looked at again while something on it runs."""
STILL_SECONDS: Final = 4.0
_POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{}'; style-src 'self' 'unsafe-inline'; "
    "img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-src 'none'; frame-ancestors 'none'"
)
"""Styles may be in the page, as frames of outputs inherit this; scripts may not."""
_NONCE: Final = secrets.token_hex(16)
"""What templates have in place of the nonce, so that the same page is the same text."""
_TARGET: Final = re.compile(r"[\w%./?=&:+~@-]*", re.ASCII)
_CREDENTIALS: Final = ("Authorization", "X-API-Key")
_FOREVER: Final = "public, max-age=31536000, immutable"
_DIGITS_MAX: Final = 9


def address(*segments: str) -> str:
    """Return a path below `/ui/` whose segments may be any text."""
    return "/".join(map(segment, segments))


class Page(Handler):
    """Root of the UI's pages.

    Attributes:
        area: The entry of the menu that the page belongs to.
        for_admins: Whether only administrators of the workspace may see it.
    """

    area: ClassVar[str] = ""
    for_admins: ClassVar[bool] = False
    _sign_in: SignIn | None = None

    # -- before the method -------------------------------------------------------------

    async def prepare(self) -> None:
        """Have the cookie stand in for the key; refuse actions from elsewhere."""
        self._sign_in = await self._find_sign_in()
        await super().prepare()
        if self.request.method == "POST":
            self._check_own()
        if self.for_admins:
            self.require_admin()

    async def _find_sign_in(self) -> SignIn | None:
        headers = self.request.headers
        access = self.parts.access
        if not access.guarded or any(name in headers for name in _CREDENTIALS):
            return None
        found = await access.signins.find(self.get_cookie(self.cookie_name, ""))
        if found is not None:
            headers["Authorization"] = f"Bearer {found.credential}"
            if found.workspace is not None:
                headers["X-Workspace-Id"] = found.workspace
        return found

    @property
    def cookie_name(self) -> str:
        """The cookie's; servers on other ports of the host have others."""
        port = self.request.host.rpartition(":")[2]
        return f"isokernel-{port if port.isdecimal() else 'default'}"

    def _check_own(self) -> None:
        """Refuse what another page has sent, even one that may call the API.

        Raises:
            OriginError: It doesn't come from a page of this server.
        """
        headers = self.request.headers
        site = headers.get("Sec-Fetch-Site")
        origin = headers.get("Origin", "")
        if site is not None:
            own = site == "same-origin"
        else:  # not sent over plain HTTP, except to this machine
            own = self.parts.guard.is_own(origin, self.request)
        if not own:
            message = "the UI's actions are only taken from its own pages"
            raise OriginError(message)

    # -- reading -----------------------------------------------------------------------

    def field(self, name: str, default: str = "") -> str:
        """Read a field of a form; its lines end as the field of a page shows them."""
        text = self.get_body_argument(name, default, strip=False)
        return text.replace("\r\n", "\n")

    def number(self, name: str, default: int = 0) -> int:
        """Read a number of the query; what is no number is the default."""
        text = self.get_query_argument(name, "")
        fits = text.isascii() and text.isdecimal() and len(text) <= _DIGITS_MAX
        return int(text) if fits else default

    def paging(self, size: int) -> dict[str, Any]:
        """Return where a list that has pages of some size begins."""
        offset = self.number("offset")
        return {
            "offset": offset,
            "previous": max(0, offset - size) if offset else None,
            "following": None,
        }

    # -- writing -----------------------------------------------------------------------

    @property
    def root(self) -> str:
        """The way from the page's path up to `/ui/`, which a proxy may have moved."""
        depth = self.request.path.removeprefix(FOLDER).count("/")
        return "../" * depth or "./"

    def go(self, *segments: str) -> None:
        """Send the browser on to a page, which it asks for with GET."""
        self.set_status(HTTPStatus.SEE_OTHER)
        self.set_header("Location", self.root + address(*segments))
        self.clear_header("Content-Type")

    async def show(
        self, template: str, *, live: bool | None = False, **values: Any
    ) -> None:
        """Send a page.

        Args:
            template: The template's name.
            live: Whether something on it runs, so that it soon is another one; None
                if it isn't to be looked at again.
            **values: The template's own.
        """
        waiting = 0
        if self.principal.admin:
            workspace = self.principal.workspace
            _, waiting = await self.parts.tools.approvals.pending(workspace, limit=1)
        refresh = 0.0 if live is None else LIVE_SECONDS if live else STILL_SECONDS
        self.send(template, HTTPStatus.OK, waiting=waiting, refresh=refresh, **values)

    def send(
        self,
        template: str,
        status: HTTPStatus,
        *,
        waiting: int = 0,
        refresh: float = 0,
        **values: Any,
    ) -> None:
        """Send a page that is made of what is at hand; see `show`."""
        # 40 ms, which servers without people at them save.
        from isoserver.ui.markup import render  # noqa: PLC0415

        common = {
            "root": self.root,
            "here": self.root + self.request.path.removeprefix(FOLDER),
            "area": self.area,
            "principal": self.principal,
            "clustered": self.parts.cluster is not None,
            "guarded": self.parts.access.guarded,
            "signed_in": self._sign_in is not None,
            "status": status,
            "nonce": _NONCE,
            "waiting": waiting,
            "refresh": refresh,
            "address": address,
        }
        text = render(template, {**common, **values})
        self.set_status(status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("ETag", f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"')
        # With `no-referrer`, browsers hide from where a form is sent.
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("X-DNS-Prefetch-Control", "off")
        if status is HTTPStatus.OK and self.check_etag_header():
            self.set_status(HTTPStatus.NOT_MODIFIED)
            self.finish()
            return
        nonce = secrets.token_urlsafe(16)
        self.set_header("Content-Security-Policy", _POLICY.format(nonce))
        self.finish(text.replace(_NONCE, nonce))

    def answer(self, content: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Send an error as a page; it comes as the API would answer it."""
        if status < HTTPStatus.BAD_REQUEST:
            super().answer(content, status)
            return
        problems = content.get("errors", [])
        if isinstance(self.failure, CredentialError):
            self.send_form(status)
            return
        message = content.get("message") or content.get("error") or status.phrase
        self.send("error.html", status, message=message, problems=problems)

    def send_form(
        self, status: HTTPStatus, problem: str = "", target: str = ""
    ) -> None:
        """Ask for a key.

        Args:
            status: The response's.
            problem: What was wrong with the one that was given.
            target: Where to go with the right one, below `/ui/`.
        """
        if not target and self.request.method == "GET":
            target = (self.request.uri or "").removeprefix(FOLDER)
        self.send("signin.html", status, problem=problem, target=target)


class SignInPage(Page):
    """Takes a key or a token."""

    public = True

    def get(self) -> None:
        """Ask for a key."""
        if self.parts.access.guarded:
            self.send_form(HTTPStatus.OK)
        else:
            self.go("")

    async def post(self) -> None:
        """Check the key, and give the browser what stands in for it."""
        key, workspace = self.field("key").strip(), self.field("workspace").strip()
        target = self.field("target")
        headers = self.request.headers
        for name in _CREDENTIALS:
            headers.pop(name, None)
        headers["Authorization"] = f"Bearer {key}"
        if workspace:
            headers["X-Workspace-Id"] = workspace
        try:
            await self.parts.access.identify(self.request)
        except ServerError as error:
            self._error_headers(error)
            self.send_form(error.http_status, error.in_words(), target)
            return
        # Its path is that of this page: it isn't sent to the API, nor taken there.
        self.set_cookie(
            self.cookie_name,
            await self.parts.access.signins.add(key, workspace or None),
            path="",
            httponly=True,
            samesite="Strict",
            secure=self._is_secure(),
        )
        self.go("")
        if _TARGET.fullmatch(target):
            self.set_header("Location", f"./{target}")

    def _is_secure(self) -> bool:
        public = self.parts.settings.public_url or ""
        return self.request.protocol == "https" or public.startswith("https:")


class SignOutPage(Page):
    """Forgets who has signed in."""

    public = True

    async def post(self) -> None:
        """End the sign-in, here and in the browser."""
        await self.parts.access.signins.end(self.get_cookie(self.cookie_name, ""))
        self.set_cookie(self.cookie_name, "", path="", max_age=0, httponly=True)
        self.go("sign-in")


class StartPage(Handler):
    """`/ui`, which has no pages beside it."""

    public = True

    def get(self) -> None:
        """Send the browser on to the folder."""
        self.set_status(HTTPStatus.SEE_OTHER)
        self.set_header("Location", "ui/")
        self.clear_header("Content-Type")


class MissingPage(Page):
    """Whatever else is asked for below `/ui/`, by whom the page may be shown to."""

    async def prepare(self) -> None:
        """Answer 404, as a page."""
        await super().prepare()
        raise RouteMissingError


class StaticPage(Handler):
    """Style and script, which are the same for everybody."""

    public = True

    def get(self, name: str) -> None:
        """Send a file, for browsers to keep: another content has another name."""
        from isoserver.ui.markup import static_file  # noqa: PLC0415 - as above

        found = static_file(name)
        if found is None:
            raise RouteMissingError
        data, kind = found
        self.set_header("Content-Type", kind)
        self.set_header("Cache-Control", _FOREVER)
        self.finish(data)
