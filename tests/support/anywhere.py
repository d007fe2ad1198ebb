"""The tests of one server's API, with three servers, any of which gets each request.

With the variable `ISOKERNEL_TEST_SERVERS=3`, whatever starts a `Server` gets so many:
on a PostgreSQL database and a folder of S3's of their own. Tests don't know of that.
"""

from __future__ import annotations

import atexit
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tests.support.server
from tests.support.clusters import AnyServer
from tests.support.object_stores import ObjectStore
from tests.support.postgresql import PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

__all__ = ["NUMBER", "keep_tests_of_apis", "replace_servers"]

NUMBER: Final = int(os.environ.get("ISOKERNEL_TEST_SERVERS", "0"))
"""Of servers in place of one; 0 for tests as ever."""
_KEY: Final = re.compile(r'^(?:api_)?key = "([^"]+)"|\bkey = "([^"]+)"', re.MULTILINE)
_places: dict[str, tuple[str, str]] = {}
"""The database and the store of each data folder, for servers that come back."""
_shared: list[tuple[PostgreSQL, ObjectStore]] = []


class Servers(AnyServer):
    """Some servers, for tests that want one."""

    def __init__(
        self,
        *flags: str,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        folder = _value(flags, "--data-dir") or ""
        database, store = _places.get(folder) or _new_place()
        if folder:
            _places[folder] = database, store
        variables = {**_stores()[1].environment, **(env or {})}
        super().__init__(
            NUMBER,
            _value(flags, "--database-url") or database,
            # Of three workers' servers, none finds two cores when it wants them.
            *("--cluster-lease-seconds", "8", *flags),
            key=_key(flags, variables),
            env=variables,
            heap_store=_value(flags, "--heap-store") or store,
            **options,
        )

    def wait_acquainted(self) -> None:
        """Wait for that, unless the requests would count for the test."""
        if "--request-rate-per-minute" not in self.flags:
            super().wait_acquainted()


def replace_servers() -> None:
    """Have tests that are imported from now on start several servers for one."""
    tests.support.server.Server = Servers  # type: ignore[misc]


def _stores() -> tuple[PostgreSQL, ObjectStore]:
    if not _shared:
        store = ObjectStore()
        database = PostgreSQL()
        store.wait()
        atexit.register(database.stop)
        atexit.register(store.stop)
        _shared.append((database, store))
    return _shared[0]


def _new_place() -> tuple[str, str]:
    database, store = _stores()
    url = database.database()
    return url, f"{store.url}/{url.partition('?')[0].rpartition('/')[2]}"


def _value(flags: Sequence[str], name: str) -> str | None:
    return flags[flags.index(name) + 1] if name in flags else None


def _key(flags: Sequence[str], variables: dict[str, str]) -> str:
    """Return a key that these servers take; empty if they take none, or tokens."""
    given = _value(flags, "--api-key") or variables.get("ISOKERNEL_API_KEY")
    file = _value(flags, "--config")
    if given or file is None:
        return given or ""
    found = _KEY.search(Path(file).read_text())
    return next(filter(None, found.groups())) if found else ""


APIS: Final = frozenset(
    {
        *("access", "capabilities", "client", "contexts", "files", "heaps", "jupyter"),
        *("mcp", "runs", "tools", "tracing", "ui", "webhooks"),
    }
)
"""Folders of tests whose requests are those of an API, and files beside them."""
NO_REQUESTS: Final = {
    "access/test_issuer": "it is about objects, as the following ones",
    "access/test_shared_rates": "",
    "access/test_signins": "",
    "capabilities/test_service": "",
    "contexts/test_alarm": "",
    "contexts/test_calls": "",
    "contexts/test_context": "",
    "contexts/test_hostile": "",
    "contexts/test_outputs": "",
    "contexts/test_results": "",
    "contexts/test_service": "",
    "contexts/test_store": "",
    "contexts/test_transcript": "",
    "heaps/test_crowds": "",
    "heaps/test_heaps": "",
    "heaps/test_locks": "",
    "heaps/test_retention": "",
    "heaps/test_store": "",
    "jupyter/test_frames": "",
    "mcp/test_stdio": "over stdio there is one server",
    "runs/test_queue": "",
    "runs/test_races": "",
    "runs/test_store": "",
    "tools/test_approvals": "",
    "tools/test_audit": "",
    "tools/test_catalog": "",
    "tools/test_names": "",
    "tools/test_redaction": "",
    "tools/test_rules": "",
    "tools/test_service": "",
    "ui/test_text": "",
    "contexts/test_budget": "it is about the memory of one server's processes",
    "contexts/test_everything_allowed": "it is about one container's walls",
    "contexts/test_python_container": "likewise",
    "contexts/test_python_walls": "likewise",
    "contexts/test_spares": "it is about the spare processes of one server",
    "test_app": "it is about how one server ends",
    "test_claims": "it is about documents",
    "test_connections": "it is about the connections of one server",
    "test_documents": "it is about documents",
    "test_whole_requests": "it is about the bytes of one connection",
    "access/test_tokens": "only with a token do servers say whether all are there",
    "runs/test_given_up": "it is about the loop of one server",
    "tracing/test_tracing": "it counts the spans of one server",
}
"""Files that are left out, and why."""
OF_ONE: Final = {
    name: why
    for why, names in {
        "it writes into SQLite, or reads there": (
            "test_what_another_has_is_as_if_it_were_not[GET /approvals/{approval_id}]",
            "test_what_another_has_is_as_if_it_were_not[POST /approvals/{approval_id}]",
            "test_lists_do_not_show_what_another_has",
            "test_an_execution_is_known_with_what_came_of_it_or_not_at_all",
            "test_output_that_is_not_there_is_told_as_such",
            "test_it_has_them_again_after_the_server",
            "test_after_kill_9_contexts_go_back_to_their_checkpoints",
            "test_workspaces_see_nothing_of_each_other",
            "test_lists_have_nothing_of_another_workspace",
            "test_lists_of_tools_do_not_either",
            "test_resources_do_not_either",
            "test_a_task_runs_in_its_own_workspace",
            "test_tools_do_not_show_what_another_has",
            "test_a_session_of_one_name_is_another_in_another_workspace",
        ),
        "it looks into a server's folder": (
            "test_folders_end_with_their_context",
            "test_a_damaged_heap_is_a_clear_error",
            "test_the_folder_of_a_forgotten_context_is_deleted",
            "test_code_and_requests_see_the_same_files",
            "test_they_end_with_the_server",
            "test_others_are_not_let_in",
            "test_an_exported_heap_has_its_files",
        ),
        "one server alone reads the pipe that approvals come by": (
            "test_several_approvals_at_a_time",
            "test_a_reviewer_may_say_no",
            "test_tasks_that_wait_take_no_place",
            "test_approvals_are_decided_from_another_process",
            "test_a_task_goes_on_when_its_call_is_approved",
            "test_waiting_for_people_takes_no_time",
        ),
        "each server lets a burst pass": (
            "test_guesses_are_slowed_down",
            "test_who_has_a_token_cannot_guess_keys",
            "test_wrong_keys_are_the_client_s",
        ),
        "so many may be on each server": (
            "test_too_many_contexts",
            "test_who_wakes_gets_the_place_of_the_one_that_can_be_saved",
            "test_who_wakes_does_not_hear_of_files_of_others",
            "test_who_wakes_is_told_when_nothing_can_be_saved",
            "test_tasks_have_bounds",
            "test_the_queue_has_its_bounds",
            "test_one_workspace_does_not_starve_another",
            "test_heaps_and_sleepers_are_shared",
            "test_a_workspace_alone_has_everything",
            "test_pages_may_call_and_connections_are_bounded",
        ),
        "each server has its own figures, processes and sources": (
            "test_metrics",
            "test_many_requests_wake_it_once",
            "test_whatever_is_asked_wakes",
            "test_contents_are_stored_once_and_deleted_with_the_last_heap",
            "test_addresses_are_public_unless_a_setting_says_otherwise",
            "test_what_fails_is_sent_again",
            "test_who_hangs_is_given_up",
            "test_redirects_are_not_followed",
            "test_two_hundred_contexts_that_loop",
            "test_an_interrupted_cell_gives_its_requests_up",
            "test_the_default_is_a_setting_and_a_check_can_be_cancelled",
            "test_what_another_has_is_as_if_it_were_not[POST /sources/{name}/refresh]",
            "test_what_another_has_is_as_if_it_were_not[DELETE /sources/{name}]",
            "test_what_another_has_is_as_if_it_were_not[GET /sources/{name}]",
        ),
        "only the server where it was knows why": (
            "test_the_kernel_of_a_session_went_first",
            "test_an_idle_context_is_deleted",
        ),
        "what a context has said stays where it was": (
            "test_a_front_comes_back_to_the_next_server",
            "test_late_output_belongs_to_its_cell_after_a_sleep",
            "test_a_cell_that_the_server_did_not_survive",
            "test_a_stream_goes_on_in_the_next_server",
            "test_a_server_that_comes_back_knows_what_has_run",
            "test_what_a_context_said_ends_with_it",
            "test_all_hear_the_same",
        ),
        "an answer that comes as its front's server is another is asked for again": (
            "test_input_asks_the_front_that_ran_the_cell",
        ),
        "without their database, servers of a cluster don't serve": (
            "test_an_end_that_can_not_be_kept_is_told_once_it_can",
            "test_an_end_that_can_not_be_kept_delays_no_stop",
        ),
        "it ends one server alone": (
            "test_a_server_that_stops_lets_runs_end",
            "test_streams_end_with_the_server",
            "test_what_was_told_is_so_after_kill_9",
        ),
        "answers name the server that was asked": (
            "test_actions_come_from_the_ui",
            "test_signing_in_and_out",
            "test_the_download_is_listed",
            "test_sources",
        ),
    }.items()
    for name in names
}
"""Tests that are left out, and why."""


def keep_tests_of_apis(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what isn't about requests, and what is about one server alone."""
    kept: list[pytest.Item] = []
    gone: list[pytest.Item] = []
    for item in items:
        (kept if _is_of_apis(config, item) else gone).append(item)
    config.hook.pytest_deselected(items=gone)
    items[:] = kept


def _is_of_apis(config: pytest.Config, item: pytest.Item) -> bool:
    path = item.path.relative_to(config.rootpath / "tests")
    place = path.with_suffix("").as_posix()
    name = place.removeprefix("server/")
    folder = name.rpartition("/")[0]
    if name == place or (folder and folder not in APIS) or name in NO_REQUESTS:
        return False
    if {item.name, item.name.partition("[")[0]} & OF_ONE.keys():
        return False
    # Of two databases, for both of which it has PostgreSQL.
    return "[postgresql" not in item.name
