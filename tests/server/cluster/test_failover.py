"""A server is lost: others go on from the last checkpoints, and it can't write."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING

import httpx
import pytest
from tests.server.cluster.conftest import found
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.server.cluster.conftest import Nodes
    from tests.support.client import Client
    from tests.support.outages import Away
    from tests.support.postgresql import PostgreSQL
    from tests.support.server import Server

_OPENS = (
    "UPDATE ON cluster_servers FOR EACH ROW "
    "WHEN (OLD.capacity = 0 AND NEW.capacity > 0)"
)
"""What a server asks of the database at the last to begin."""
_JOINS = "INSERT ON cluster_servers FOR EACH ROW"
"""With what it is one of the servers."""
_REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'not yet'; END $$;
CREATE TRIGGER refuse BEFORE {} EXECUTE FUNCTION refuse();
"""
_WAIT = """
CREATE TABLE gate ();
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM FROM gate; RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE {} EXECUTE FUNCTION wait();
"""
_LOCKED = "LOCK TABLE gate IN ACCESS EXCLUSIVE MODE"
"""Has whoever waits for the gate do so."""
NO_LEASE = "isokernel_serving 0.0"
"""What the figures say of a server that has none."""


def test_a_killed_server_s_contexts_go_on_elsewhere(nodes: Nodes) -> None:
    first, one = nodes.start()
    _, other = nodes.start()
    saved, unsaved = one.create(), one.create()
    one.run("let n = 41", context_id=saved)
    assert one.post(f"/contexts/{saved}/checkpoint").status_code == 200
    one.run("n = 1000", context_id=saved)
    shown = other.get(f"/contexts/{saved}")
    assert shown.status_code == 200
    assert shown.headers["X-Isokernel-Owner"] == first.url
    first.stop(signal.SIGKILL)
    taken = found(other, saved)
    assert "what ran after its checkpoint" in taken["reason"]
    assert other.text("n + 1", context_id=saved) == "42"
    assert found(other, unsaved)["state"] == "dead"


def test_acknowledged_files_outlive_their_server(nodes: Nodes) -> None:
    """Of contexts that are saved at once: live, asleep, or with no execution yet."""
    first, one = nodes.start("--hibernate-after-seconds", "1")
    _, other = nodes.start()
    body = {"language": "javascript", "durability": "execution"}
    made = []
    for _ in count():
        answer = one.post("/contexts", json=body)
        if answer.headers["X-Isokernel-Owner"] == first.url:
            made.append(answer.json()["id"])
        if len(made) == 2:
            break
    live, asleep = made
    policy = {"files": "read"}
    one.run("globalThis.n = 1", context_id=asleep)
    one.wait_state(asleep, "hibernated")
    for here in made:
        place = f"/contexts/{here}/files"
        assert one.put(f"{place}/data/a", content=b"one").status_code == 201
        assert one.put(f"{place}/data/b", content=b"two").status_code == 201
        assert one.delete(f"{place}/data/b").status_code == 204
        copied = {"action": "copy", "path": "data/a", "to": "c"}
        assert one.post(place, json=copied).status_code == 200
        given = one.put(f"/contexts/{here}/capabilities", json=policy)
        assert given.json()["context"] == policy
    first.stop(signal.SIGKILL)
    for here in made:
        found(other, here)
        place = f"/contexts/{here}/files"
        assert other.get(f"{place}/data/a").content == b"one"
        assert other.get(f"{place}/c").content == b"one"
        assert other.get(f"{place}/data/b").status_code == 404
        shown = other.get(f"/contexts/{here}/capabilities").json()
        assert shown["context"] == policy
    assert other.text("n", context_id=asleep) == "1"
    assert other.text("typeof n", context_id=live) == "'undefined'"


def test_a_context_whose_files_are_damaged_can_be_deleted(nodes: Nodes) -> None:
    """Or begun anew: whoever takes it says what is wrong with it."""
    first, one = nodes.start("--hibernate-after-seconds", "1")
    _, other = nodes.start()
    made: list[str] = []
    while len(made) < 2:
        here = one.create()
        if one.get(f"/contexts/{here}").headers["X-Isokernel-Owner"] == first.url:
            made.append(here)
    for here in made:
        one.run("globalThis.n = 1", context_id=here)
        answer = one.put(f"/contexts/{here}/files/a.txt", content=here.encode())
        assert answer.status_code == 201, answer.text
        one.wait_state(here, "hibernated")
    stored = list((nodes.folder / "heaps").rglob("*.content"))
    assert len(stored) == 2
    for path in stored:
        path.write_bytes(b"damaged")
    first.stop(signal.SIGKILL)
    for here in made:
        taken = found(other, here)
        assert taken["state"] == "dead"
        assert "can't be woken" in taken["reason"]
        assert "damaged" in taken["reason"]
    restarted, deleted = made
    assert other.post(f"/contexts/{restarted}/restart").status_code == 200
    assert other.text("1 + 1", context_id=restarted) == "2"
    assert other.delete(f"/contexts/{deleted}").status_code == 204


def test_what_was_lost_amid_its_run_is_begun_anew(nodes: Nodes) -> None:
    """Sent again with the same id, though the context that it had made is dead."""
    first, one = nodes.start()
    _, other = nodes.start()
    code = "console.log('begun'); await new Promise(() => {})"
    for number in count():
        asked = {"code": code, "execution_id": f"order-{number}"}
        with one.stream("POST", "/execute/async", json=asked) as answer:
            assert any("begun" in line for line in answer.iter_lines())
            if answer.headers["X-Isokernel-Owner"] == first.url:
                break
    here = answer.headers["X-Context-Id"]
    first.stop(signal.SIGKILL)
    assert found(other, here)["state"] == "dead"
    with other.stream("POST", "/execute/async", json=asked) as answer:
        assert answer.status_code == 200
        assert answer.headers["X-Context-Id"] == here
        assert any("begun" in line for line in answer.iter_lines())
    assert other.show(here)["state"] == "busy"


def test_a_server_that_was_stopped_too_long_has_nothing_any_more(nodes: Nodes) -> None:
    first, one = nodes.start()
    second, other = nodes.start()
    here = one.create()
    one.run("let n = 41", context_id=here)
    assert one.post(f"/contexts/{here}/checkpoint").status_code == 200
    run = one.submit("setInterval(() => console.log('x'), 1); await 0")
    one.printed(run, "x")
    workers = first.children()
    first.process.send_signal(signal.SIGSTOP)
    assert found(other, here)["state"] == "hibernated"
    other.run("n = 1", context_id=here)
    assert other.ended(run)["status"] == "failed"
    first.process.send_signal(signal.SIGCONT)

    wait_for(lambda: _serves(one))
    assert one.get(f"/contexts/{here}").headers["X-Isokernel-Owner"] == second.url
    assert not workers & first.children()
    assert other.text("n + 1", context_id=here) == "2"
    assert other.info(run)["status"] == "failed"
    # It is a server as any other again.
    assert one.text("6 * 7", context_id=one.create()) == "42"


def test_servers_come_back_with_the_database(nodes: Nodes, away: Away) -> None:
    nodes.database = away.url
    (_, one), (_, other) = nodes.start(), nodes.start()
    here, there = one.create(), other.create()
    for client, context_id in ((one, here), (other, there)):
        client.run("let n = 41", context_id=context_id)
        assert client.post(f"/contexts/{context_id}/checkpoint").status_code == 200
        client.run("n = 1000", context_id=context_id)
    away.leave()
    # What is owned for certain is served.
    assert one.text("n", context_id=here) == "1000"

    def refuses(client: Client) -> bool:
        answer = client.get("/contexts")
        return bool(answer.headers.get("X-Error-Code") == "lease")

    wait_for(lambda: refuses(one) and refuses(other))
    told = one.get(f"/contexts/{here}")
    assert told.status_code == 503
    assert "cluster_lease_seconds" in told.json()["message"]
    assert int(told.headers["Retry-After"]) > 0
    assert _says(one, NO_LEASE)
    away.come_back()
    # Of whom they were doesn't matter any more.
    wait_for(lambda: _serves(one) and _serves(other))
    assert "what ran after its checkpoint" in found(other, here)["reason"]
    assert other.text("n + 1", context_id=here) == "42"
    found(one, there)
    assert one.text("n + 1", context_id=there) == "42"


def test_who_has_no_lease_says_so_without_the_database(
    nodes: Nodes, postgresql: PostgreSQL
) -> None:
    # Requests are counted in the database, but not those for the figures.
    _, one = nodes.start("--request-rate-per-minute", "1")
    with postgresql.paused():
        wait_for(lambda: _says(one, NO_LEASE))
        told = one.get("/metrics").text
    # Of other servers it knows nothing any more, but its own figures go on.
    assert "isokernel_cluster_" not in told
    assert "\nisokernel_contexts{" in told
    wait_for(lambda: _says(one, "isokernel_serving 1.0"))
    assert _says(one, "isokernel_cluster_servers 1.0")


def test_what_is_not_written_any_more_is_not_made(
    nodes: Nodes, away: Away, postgresql: PostgreSQL
) -> None:
    nodes.database = away.url
    _, one = nodes.start()
    body = {"language": "javascript"}
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        written = "LOCK TABLE contexts IN EXCLUSIVE MODE"
        with postgresql.holding(written, away.name):
            first = pool.submit(one.post, "/contexts", json=body)
            wait_for(lambda: postgresql.query(waiting) == "1\n")
            second = pool.submit(one.post, "/contexts", json=body)
            wait_for(lambda: len(one.get("/contexts").json()["items"]) == 2)
            renewed = "LOCK TABLE cluster_servers IN EXCLUSIVE MODE"
            stack.enter_context(postgresql.holding(renewed, away.name))
            wait_for(lambda: one.get("/contexts").status_code == 503)
        # The first one may have been written, the second one never is.
        first.result()
        assert second.result().headers["X-Error-Code"] == "lease"


def test_a_server_comes_back_when_all_is_there(nodes: Nodes, away: Away) -> None:
    nodes.database = away.url
    server, one = nodes.start()
    away.leave()
    wait_for(lambda: one.get("/contexts").headers.get("X-Error-Code") == "lease")
    heaps, aside = nodes.folder / "heaps", nodes.folder / "aside"
    heaps.rename(aside)
    heaps.touch()
    away.come_back()
    wait_for(lambda: "can't begin anew yet" in server.log())
    heaps.unlink()
    aside.rename(heaps)
    wait_for(lambda: _serves(one))
    assert one.text("6 * 7", context_id=one.create()) == "42"


def test_a_server_that_listens_already_when_it_can_t_come_back_tries_again(
    nodes: Nodes, away: Away, postgresql: PostgreSQL
) -> None:
    nodes.database = away.url
    server, one = nodes.start()
    postgresql.query(_REFUSE.format(_OPENS), away.name)
    away.leave()
    wait_for(lambda: one.get("/contexts").headers.get("X-Error-Code") == "lease")
    away.come_back()
    wait_for(lambda: server.log().count("can't begin anew yet") > 1)
    postgresql.query("DROP TRIGGER refuse ON cluster_servers", away.name)
    wait_for(lambda: _serves(one))
    assert one.text("6 * 7", context_id=one.create()) == "42"


def _outlive_its_lease(server: Server, away: Away, postgresql: PostgreSQL) -> None:
    """Have the only server begin anew, until it waits in the database."""
    server.process.send_signal(signal.SIGSTOP)
    expired = "SELECT seen_at + make_interval(secs => lease_seconds) < now()"
    asked = f"{expired} FROM cluster_servers"
    wait_for(lambda: postgresql.query(asked, away.name) == "t\n")
    server.process.send_signal(signal.SIGCONT)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    wait_for(lambda: postgresql.query(waiting) == "1\n")


def test_a_server_that_is_told_to_end_as_it_comes_back_ends_in_order(
    nodes: Nodes, away: Away, postgresql: PostgreSQL
) -> None:
    nodes.database = away.url
    server, one = nodes.start("--shutdown-grace-seconds", "1")
    postgresql.query(_WAIT.format(_OPENS), away.name)
    with postgresql.holding(_LOCKED, away.name), ThreadPoolExecutor() as pool:
        _outlive_its_lease(server, away, postgresql)
        here = one.create()
        body = {"code": "for (;;);", "context_id": here}
        answer = pool.submit(one.post, "/execute", json=body)
        one.wait_state(here, "busy")
        assert server.stop() == 0
        assert answer.result().status_code != 500


def test_a_server_that_is_told_to_end_while_it_begins_anew_ends_in_order(
    nodes: Nodes, away: Away, postgresql: PostgreSQL
) -> None:
    nodes.database = away.url
    server, one = nodes.start("--shutdown-grace-seconds", "1")
    postgresql.query(_WAIT.format(_JOINS), away.name)
    with postgresql.holding(_LOCKED, away.name):
        _outlive_its_lease(server, away, postgresql)
        with pytest.raises(httpx.ConnectError):  # at once: another server may answer
            one.get("/contexts")
        assert server.stop() == 0


def test_who_waits_is_told_that_the_lease_is_over(nodes: Nodes, away: Away) -> None:
    nodes.database = away.url
    _, one = nodes.start()
    here = one.create()
    assert one.post(f"/contexts/{here}/checkpoint").status_code == 200
    runs = {"code": "for (;;);", "context_id": here}
    waits = {"code": "1", "context_id": here}
    asked = (("/execute", runs), ("/execute", waits), ("/execute/async", waits))
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = []
        for path, body in asked:
            answers.append(pool.submit(one.post, path, json=body))
            one.wait_state(here, "busy")
        away.leave()
        *whole, stream = (answer.result() for answer in answers)
    away.come_back()
    for answer in whole:
        assert answer.status_code == 503
        assert answer.headers["X-Error-Code"] == "lease"
    # It has begun when the lease ends.
    assert '"type":3,"data":"its lease ran out' in stream.text


def _says(client: Client, figure: str) -> bool:
    try:
        answer = client.get("/metrics")
    except httpx.TransportError:  # it begins anew
        return False
    assert answer.status_code == 200, answer.text
    return f"\n{figure}\n" in answer.text


def _serves(client: Client) -> bool:
    try:
        return client.get("/contexts").status_code == 200
    except httpx.TransportError:  # it begins anew
        return False


def test_heaps_are_collected_whichever_server_is_lost(nodes: Nodes) -> None:
    """Servers take turns, each of one interval."""
    flags = "--heap-sweep-interval-seconds", "0.2", "--heap-grace-seconds", "0"
    first, _ = nodes.start(*flags)
    nodes.start(*flags)
    unowned = nodes.folder / "heaps" / f"{'0' * 64}.heap"
    for _ in range(3):
        unowned.touch()
        wait_for(lambda: not unowned.exists())
    first.process.kill()
    first.process.wait()
    unowned.touch()
    wait_for(lambda: not unowned.exists())
