"""The provider itself: addresses, TLS, secrets, handles."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import ipaddress
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.networks import Rules, Site, allow_all

from isokernel.capabilities import Answer, Call, CapabilityError, Grant
from isokernel.network.provider import Network
from isokernel.network.settings import NetworkSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.networks import LoopThread

    Ask = Callable[..., Answer]


class Names:
    """Looks up names: each time the next addresses that it has for one."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def resolve(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        answers = self._answers.get(host.partition(".")[0], [[]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


class Client:
    """Asks a provider as a context would."""

    def __init__(self, thread: LoopThread, grant: Grant, **network: Any) -> None:
        self._thread = thread
        self._grant = grant
        self.network = Network(**network)

    def ask(self, name: str, **arguments: Any) -> Answer:
        call = Call(f"net.{name}", arguments, None, self._grant)
        made: Answer = self._thread.run(self.network.call(call))
        return made

    def open(self, url: str, handle: int = 1, **arguments: Any) -> Answer:
        arguments = {"method": "GET", "headers": [], **arguments}
        return self.ask("open", url=url, handle=handle, **arguments)

    def failure(self, name: str, **arguments: Any) -> CapabilityError:
        with pytest.raises(CapabilityError) as raised:
            self.ask(name, **arguments)
        return raised.value

    def close(self) -> None:
        self._thread.run(self.network.close(self._grant.context_id))


@pytest.fixture
def client(thread: LoopThread, site: Site) -> Iterator[Callable[..., Client]]:  # noqa: ARG001 -- ends the site's connections afterwards
    made: list[Client] = []

    def make(decide: Any = allow_all, secrets: Any = None, **network: Any) -> Client:
        given = {} if secrets is None else {"secrets": secrets}
        made.append(Client(thread, Grant("one", decide, **given), **network))
        return made[-1]

    yield make
    for one in made:
        one.close()


def public_only(asked: Any) -> bool:
    return bool(asked.facts.get("network", "public") == "public")


def test_a_name_that_changes_its_address_gets_nowhere(
    client: Callable[..., Client], site: Site
) -> None:
    """The address that was decided is the one that is connected to."""
    names = Names(rebinds=[["8.8.8.8"], ["127.0.0.1"]])
    rules = Rules(public_only)
    seen = len(site.seen)
    one = client(
        rules, resolver=names, settings=NetworkSettings(connect_timeout_seconds=0.2)
    )
    url = f"http://rebinds.example:{site.port}/"
    codes = [one.failure("open", url=url, handle=n, headers=[]).code for n in (1, 2)]
    assert codes[1] == "capability_denied"
    assert codes[0] in {"timeout", "connection_failed"}
    assert names.asked == ["rebinds.example"] * 2
    decided = [asked.facts.get("address") for asked in rules.asked]
    assert decided == [None, "8.8.8.8", None, "127.0.0.1"]
    assert len(site.seen) == seen


def test_of_several_addresses_those_are_used_that_may_be(
    client: Callable[..., Client], site: Site
) -> None:
    names = Names(mixed=[["10.0.0.1", "169.254.169.254", "127.0.0.1"]])
    rules = Rules(lambda asked: asked.facts.get("network") in {None, "loopback"})
    answer = client(rules, resolver=names).open(f"http://mixed.example:{site.port}/")
    assert answer.value["status"] == 200
    assert site.seen[-1].header("host") == f"mixed.example:{site.port}"
    networks = [asked.facts.get("network") for asked in rules.asked]
    assert networks == [None, "private", "metadata", "loopback"]


def test_a_name_that_is_denied_is_not_looked_up(client: Callable[..., Client]) -> None:
    names = Names()
    one = client(Rules(lambda _asked: False), resolver=names)
    failure = one.failure(
        "open", url="http://secret-data.example/", handle=1, headers=[]
    )
    assert failure.code == "capability_denied"
    assert names.asked == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254"],
)
def test_addresses_within_are_denied(client: Callable[..., Client], host: str) -> None:
    one = client(Rules(public_only))
    failure = one.failure("open", url=f"http://{host}/", handle=1, headers=[])
    assert failure.code == "capability_denied"


def test_a_connection_is_used_again_for_the_same_host_and_address(
    client: Callable[..., Client], site: Site
) -> None:
    names = Names(a=[["127.0.0.1"]], b=[["127.0.0.1"]])
    one = client(resolver=names)
    before = site.connections
    for handle, host in enumerate(["a", "a", "b", "a"], 1):
        one.open(f"http://{host}.example:{site.port}/", handle)
    assert site.connections == before + 2


def test_many_hosts_are_asked_at_once(
    client: Callable[..., Client], site: Site, thread: LoopThread
) -> None:
    """Connections to old hosts are closed while others begin."""
    one = client(resolver=Names(host=[["127.0.0.1"]]))
    grant = Grant("one", allow_all)

    async def ask(handle: int) -> Answer:
        url = f"http://host.number-{handle}.example:{site.port}/status/204"
        arguments = {"method": "GET", "headers": [], "url": url, "handle": handle}
        return await one.network.call(Call("net.open", arguments, None, grant))

    async def ask_all(start: int) -> list[Answer]:
        return await asyncio.gather(*map(ask, range(start, start + 100)))

    for start in (1, 101):
        answers = thread.run(ask_all(start))
        assert {answer.value["status"] for answer in answers} == {204}


def test_secrets_are_put_in_for_their_host(
    client: Callable[..., Client], site: Site
) -> None:
    mark = "{{secret:TOKEN}}"
    secrets = {"127.0.0.1": {mark: "s3cret"}}
    one = client(secrets=lambda asked: secrets.get(str(asked.facts["host"]), {}))
    headers = [["Authorization", f"Bearer {mark}"]]
    for written in (mark, "%7B%7Bsecret:TOKEN%7D%7D", "%7B%7Bsecret%3ATOKEN%7D%7D"):
        one.open(f"{site.url}/?key={written}", headers=headers)
        assert site.seen[-1].header("authorization") == "Bearer s3cret"
        assert site.seen[-1].query == {"key": "s3cret"}
    one.open(site.url.replace("127.0.0.1", "localhost"), 2, headers=headers)
    assert site.seen[-1].header("authorization") == f"Bearer {mark}"


def test_what_a_host_sends_back_has_no_secrets(
    client: Callable[..., Client], site: Site
) -> None:
    """Echoed in headers and body, cut anywhere, as it is and in Base64."""
    mark = "{{secret:TOKEN}}"
    one = client(secrets=lambda _asked: {mark: "s3cret-of-the-host"})
    basic = base64.b64encode(f"me:{mark}".encode()).decode()
    headers = [["Authorization", f"Basic {basic}"], ["X-Token", mark]]
    answer = one.open(f"{site.url}/echo", headers=headers)
    seen = site.seen[-1]
    expected = base64.b64encode(b"me:s3cret-of-the-host").decode()
    assert seen.header("authorization") == f"Basic {expected}"
    assert seen.header("x-token") == "s3cret-of-the-host"
    data = answer.data or b""
    while not answer.value["done"]:
        answer = one.ask("read", handle=1)
        data += answer.data or b""
    text = data.decode() + str(answer.value)
    assert "s3cret-of-the-host" not in text
    assert expected[4:20] not in text
    assert "[redacted]" in text


def test_handles_are_the_contexts_own(
    client: Callable[..., Client], site: Site
) -> None:
    one = client()
    url = f"{site.url}/pieces?count=100&size=100000"
    assert one.open(url).value["done"] is False
    assert (
        one.failure("open", url=url, handle=1, headers=[]).code == "invalid_arguments"
    )
    for handle in (None, 0, -1, "1", 2.5):
        assert one.failure("read", handle=handle).code == "invalid_arguments"
    assert one.failure("read", handle=2).code == "closed"
    one.ask("close", handle=1)
    assert one.failure("read", handle=1).code == "closed"
    one.ask("close", handle=3)  # before it is opened, as calls may overtake each other
    assert one.failure("open", url=url, handle=3, headers=[]).code == "closed"
    assert one.failure("other").code == "no_such_call"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority and the certificate of `site.example`."""
    folder = tmp_path_factory.mktemp("certificates")
    now = dt.datetime.now(dt.timezone.utc)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test's authority")])
    names = [
        x509.DNSName("site.example"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.2")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "site.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


def test_a_server_is_verified_by_its_name(
    client: Callable[..., Client], thread: LoopThread, certificates: Path
) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "site.pem", certificates / "key.pem")
    site = Site(thread, tls)
    names = Names(site=[["127.0.0.1"]], other=[["127.0.0.1"]])
    own = NetworkSettings(ca_file=str(certificates / "site.pem"))
    try:
        trusting = client(resolver=names, settings=own)
        answer = trusting.open(f"https://site.example:{site.port}/")
        assert json.loads(answer.data or b"")["headers"]["host"] == (
            f"site.example:{site.port}"
        )
        for other, url in (
            (trusting, "other.example"),
            (client(resolver=names), "site.example"),
        ):
            failure = other.failure(
                "open", url=f"https://{url}:{site.port}/", handle=2, headers=[]
            )
            assert failure.code == "connection_failed"
            assert "certificate verify failed" in str(failure)
        trusting.close()
        site.end_connections()
    finally:
        site.close()


def test_authorities_that_are_not_there_are_named(
    client: Callable[..., Client],
) -> None:
    one = client(settings=NetworkSettings(ca_file="/nowhere/ca.pem"))
    failure = one.failure("open", url="https://127.0.0.1/", handle=1, headers=[])
    assert (failure.code, "net_ca_file" in str(failure)) == ("tls_unavailable", True)
