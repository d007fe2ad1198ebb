"""Settings are converted and checked; messages say what was given where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isoserver.errors import InvalidSettingsError
from isoserver.settings.reading import read_settings
from isoserver.settings.server import ServerSettings

NUMBER = "must be a number above 0"


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("port", "80", 80),
        ("port", " 8_0 ", 80),
        ("port", 80.0, 80),
        ("heap_compression_level", "-7", -7),
        ("contexts_max", str(10**18 + 1), 10**18 + 1),
        ("context_ttl_seconds", "1e3", 1000.0),
        ("context_ttl_seconds", 5, 5.0),
        ("context_ttl_seconds", "none", None),
        ("context_ttl_seconds", "NULL", None),
        ("context_ttl_seconds", None, None),
        ("task_ttl_seconds", "inf", float("inf")),
        ("stateless", "YES", True),
        ("stateless", "0", False),
        ("stateless", 1, True),
        ("log_level", "debug", "debug"),
        ("data_dir", "a/b", Path("a/b")),
        ("data_dir", Path("a"), Path("a")),
        ("default_language", "none", "none"),
        ("cors_origin", "a://b, *,,null", ["a://b", "*", "null"]),
        ("cors_origin", ["a://b,*", "null"], ["a://b", "*", "null"]),
        ("allowed_host", "*,Box.,::1,[::1]", ["*", "Box.", "::1", "[::1]"]),
        ("cors_origin", "", []),
        ("capability_call_bytes_max", 1 << 20, 1 << 20),
    ],
)
def test_values_are_converted(name: str, given: Any, value: Any) -> None:
    found = getattr(read_settings(**{name: given}), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("port", "65536", "must be an integer from 0 to 65535"),
        ("port", "", "must be an integer from 0 to 65535"),
        ("port", "80.5", "must be an integer from 0 to 65535"),
        ("port", 80.5, "must be an integer from 0 to 65535"),
        ("port", True, "must be an integer from 0 to 65535"),
        ("port", None, "must be an integer from 0 to 65535"),
        ("port", [80], "must be an integer from 0 to 65535"),
        ("port", float("inf"), "must be an integer from 0 to 65535"),
        ("contexts_max", "0", "must be an integer above 0"),
        ("contexts_max", "9" * 5000, "must be an integer above 0"),
        ("notebook_cells_max", "-1", "must be an integer of at least 0"),
        ("context_ttl_seconds", "nan", f"{NUMBER}, or none"),
        ("context_ttl_seconds", "0", f"{NUMBER}, or none"),
        ("task_ttl_seconds", "none", NUMBER),
        ("task_ttl_seconds", "nan", NUMBER),
        ("workspace_share", "1.1", "must be a number above 0 and of at most 1"),
        ("stateless", "maybe", "must be on or off"),
        ("stateless", 2, "must be on or off"),
        ("stateless", [], "must be on or off"),
        ("log_level", "all", "must be one of debug, info, warning, error"),
        ("data_dir", 5, "must be a path, or none"),
        ("host", 5, "must be text"),
        ("cors_origin", 5, "must be a list of text"),
        ("cors_origin", ["a", 5], "must be a list of text"),
        ("cors_origin", "https://a.com/", "'https://a.com/' is not an origin"),
        ("allowed_host", "box:80", "'box:80' has a port: it takes names"),
        ("allowed_host", "*.a.com", "'*.a.com' is not the name of a host"),
        ("webhook_host", "box:99999", "'99999' in 'box:99999' is not a port"),
        ("webhook_host", "*.127.1", "127.1 is not an IPv4 address"),
        ("public_url", "https://a..b/", "'a..b' is not the name of a host"),
        ("languages", " , ", "must be a list of text with 1 or more items"),
        ("oauth_admin_scope", "a b", "must be a scope"),
        ("oauth_admin_scope", "a\n", "must be a scope"),
        ("sources", "[{", "must be JSON"),
    ],
)
def test_what_a_setting_takes_is_said(name: str, given: Any, words: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(InvalidSettingsError) as caught:
        read_settings(**{name: given})
    [problem] = caught.value.problems
    assert problem.startswith(f"{flag}: {words}")


def test_every_problem_is_named_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "isokernel.toml"
    file.write_text(
        "prot = 1\nhost = 'the-secret'\ncontexts_max = 'the-secret'\n"
        "[[sources]]\ntype = 'the-secret'\n"
        "[[policies]]\neffect = 'the-secret'\n"
        "[[secrets]]\nname = 'a'\nhosts = ['the-secret']\n"
        "[[capability_rules]]\neffect = 'deny'\ncapability = 'the-secret'\n"
        "[[workspaces]]\nname = 'the-secret/'\n"
        "[[workspaces]]\napi_keys = [{ key = 'the-secret-0123456', admins = true }]\n"
    )
    monkeypatch.setenv("ISOKERNEL_STATELESS", "the-secret")
    monkeypatch.setenv("isokernel_files_max", "the-secret")
    monkeypatch.setenv("ISOKERNEL_HOST", "")
    monkeypatch.setenv("ISOKERNEL_FORKS", "off")  # the kernel's
    with pytest.raises(InvalidSettingsError) as caught:
        read_settings(config=str(file), port="the-secret", nothing=1)
    said = sorted(caught.value.problems)
    begins = [
        "--port: must be",
        f"{file}: capability_rules.0.capability: ",
        f"{file}: contexts_max: must be",
        f"{file}: policies.0.effect: ",
        f"{file}: prot: there is no such setting; did you mean port?",
        f"{file}: secrets.0.value: ",
        f"{file}: sources.0: ",
        f"{file}: workspaces.0.name: ",
        f"{file}: workspaces.1.api_keys.0.admins: is unknown",
        "ISOKERNEL_STATELESS: must be",
        "isokernel_files_max: must be",
        "nothing: there is no such setting",
    ]
    assert len(said) == len(begins)
    for problem, begin in zip(said, begins, strict=True):
        assert problem.startswith(begin)
        # The tag of a source's kind is no secret, and is quoted to be found.
        assert "the-secret" not in problem or begin.endswith("sources.0: ")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "isokernel.toml"
    for content in (b"port 3", b"\xff"):
        file.write_bytes(content)
        with pytest.raises(InvalidSettingsError, match=f"{file}: .*(line 1|position)"):
            read_settings(config=file)


def test_tables_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOKERNEL_WORKSPACES", '[{"name": "a"}, {"name": "b"}]')
    assert [each.name for each in read_settings().workspaces] == ["a", "b"]
    settings = read_settings(workspaces=['{"name": "c"}', '[{"name": "d"}]'])
    assert [each.name for each in settings.workspaces] == ["c", "d"]


def test_another_programs_variable_is_the_last_to_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MCP_AUTHORIZATION_SERVER", "https://a.example")
    monkeypatch.setenv("ISOKERNEL_OAUTH_AUDIENCE", "x")
    assert read_settings().oauth_issuer == "https://a.example"
    monkeypatch.setenv("ISOKERNEL_OAUTH_ISSUER", "https://b.example")
    assert read_settings().oauth_issuer == "https://b.example"


def test_settings_do_not_change() -> None:
    settings = read_settings()
    with pytest.raises(AttributeError):
        settings.port = 1
    settings.languages.clear()  # of these alone
    assert read_settings().languages == ServerSettings.fields["languages"].default
    with pytest.raises(TypeError, match="prot"):
        ServerSettings(prot=1)


def test_defaults_are_values_that_settings_take() -> None:
    for name, found in ServerSettings.fields.items():
        assert found.convert(found.default) == found.default, name
        if not found.is_table:
            assert found.takes, name
