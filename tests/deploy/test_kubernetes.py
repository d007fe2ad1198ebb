"""The manifests of `deploy/kubernetes`: valid, and what the server expects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from isoserver.contexts.service import _MEMORY_PART
from isoserver.errors import OriginError
from isoserver.http.guards import Guard
from isoserver.http.information import INFORMATION_ROUTES
from isoserver.settings.server import ServerSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
MANIFESTS = [
    found
    for path in sorted(FOLDER.glob("*.yaml"))
    for found in yaml.safe_load_all(path.read_text())
]
PATCH = yaml.safe_load((FOLDER / "python" / "patch.yaml").read_text())
OLDEST, WITH_USERS, NEWEST = "1.25", "1.33", "1.37"
"""Versions of Kubernetes: the oldest that the manifests are for, the oldest where pods
have namespaces of users, and the newest that there are schemas of."""


def _merged(one: Any, other: Any) -> Any:
    """What `kubectl patch` makes, as far as these patches go."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            name: _merged(one[name], other[name])
            if name in one and name in other
            else one.get(name, other.get(name))
            for name in {**one, **other}
        }
    if isinstance(one, list) and isinstance(other, list):
        named = {item["name"]: item for item in one}
        for item in other:
            named[item["name"]] = _merged(named.get(item["name"], {}), item)
        return list(named.values())
    return other


DEPLOYMENT = next(one for one in MANIFESTS if one["kind"] == "Deployment")
WITH_PYTHON = _merged(DEPLOYMENT, PATCH)


@pytest.mark.parametrize("version", [OLDEST, WITH_USERS, NEWEST])
def test_they_are_valid(version: str) -> None:
    validator = pytest.importorskip(
        "kubernetes_validate", reason="in the extra `e2e`: its schemas are 100 MB"
    )
    kinds = {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}
    assert {one["kind"] for one in MANIFESTS} == kinds
    for one in (*MANIFESTS, *([WITH_PYTHON] if version != OLDEST else [])):
        validator.validate(one, version, strict=True)
        assert one["metadata"]["name"].startswith("isokernel")
    wrong = json.loads(json.dumps(DEPLOYMENT))
    wrong["spec"]["template"]["spec"]["containers"][0]["port"] = 3000
    with pytest.raises(validator.ValidationError):
        validator.validate(wrong, version, strict=True)


def test_settings_are_those_of_the_server() -> None:
    [config] = (one for one in MANIFESTS if one["kind"] == "ConfigMap")
    [container] = WITH_PYTHON["spec"]["template"]["spec"]["containers"]
    named = {*config["data"], *(one["name"] for one in container["env"])}
    secret = re.findall(r"ISOKERNEL_\w+", (FOLDER / "server.yaml").read_text())
    for name in {*named, *secret} - {"POD_IP"}:
        assert name.removeprefix("ISOKERNEL_").lower() in ServerSettings.fields, name


@pytest.mark.parametrize(
    ("deployment", "language"), [(DEPLOYMENT, "JavaScript"), (WITH_PYTHON, "Python")]
)
def test_as_many_contexts_as_may_live_have_room(deployment: Any, language: str) -> None:
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    limit = re.fullmatch(r"(\d+)Gi", container["resources"]["limits"]["memory"])
    assert limit is not None
    row = rf"^\| a live context of {language} \| ([\d.]+) MiB"
    each = re.search(row, (ROOT / "docs" / "scale.md").read_text(), re.MULTILINE)
    assert each is not None
    usual = ServerSettings().contexts_max
    number = int(_settings(container).get("ISOKERNEL_CONTEXTS_MAX", usual))
    assert number * float(each[1]) < int(limit[1]) * 1024 * _MEMORY_PART


def _settings(container: Any) -> dict[str, str]:
    """What a server's variables are; those of its own come before those of all."""
    [config] = (one for one in MANIFESTS if one["kind"] == "ConfigMap")
    own = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    return {**config["data"], **own}


def test_services_may_be_called_by_their_names() -> None:
    [config] = (one for one in MANIFESTS if one["kind"] == "ConfigMap")
    values = {"allowed_host": config["data"]["ISOKERNEL_ALLOWED_HOST"].split(",")}
    guard = Guard(ServerSettings(**values))
    names = [one["metadata"]["name"] for one in MANIFESTS if one["kind"] == "Service"]
    assert len(names) == 2
    for name in names:
        for ending in ("", ".isokernel", ".isokernel.svc"):
            guard.check_host(_request(f"{name}{ending}:3000"))
        guard.check_host(_request(f"{name}.isokernel.svc.cluster.local:3000"))
    with pytest.raises(OriginError):
        guard.check_host(_request("other.isokernel.svc:3000"))


def _request(host: str) -> HTTPServerRequest:
    start = RequestStartLine("GET", "/contexts", "HTTP/1.1")
    return HTTPServerRequest(start_line=start, headers=HTTPHeaders({"Host": host}))


def test_what_needs_a_key_is_not_asked_without_one() -> None:
    """Prometheus scrapes pods with annotations, but sends no key to them."""
    metadata = DEPLOYMENT["spec"]["template"]["metadata"]
    public = {route.path for route in INFORMATION_ROUTES if route.handler.public}
    assert "/metrics" not in public
    assert "annotations" not in metadata


def test_what_is_to_be_changed_is_told_at_its_head() -> None:
    text = (FOLDER / "server.yaml").read_text()
    head = text.partition("apiVersion")[0]
    [container] = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    assert container["image"] in head
    assert "ISOKERNEL_HEAP_STORE" in head
    assert "jsonpath='{.data.ISOKERNEL_API_KEY}'" in head


def test_it_stops_within_its_time() -> None:
    spec = DEPLOYMENT["spec"]["template"]["spec"]
    [config] = (one for one in MANIFESTS if one["kind"] == "ConfigMap")
    [_, before] = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    defaults = ServerSettings()
    most = (
        int(before)
        + float(config["data"]["ISOKERNEL_SHUTDOWN_GRACE_SECONDS"])
        + defaults.interrupt_grace_seconds
        + defaults.shutdown_save_timeout_seconds
    )
    assert most < spec["terminationGracePeriodSeconds"]


def test_probes_ask_what_answers_without_a_key() -> None:
    [container] = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    public = {route.path for route in INFORMATION_ROUTES if route.handler.public}
    for kind in ("startup", "readiness", "liveness"):
        assert container[f"{kind}Probe"]["httpGet"]["path"] in public
    assert container["livenessProbe"]["httpGet"]["path"] != "/healthz"


def test_it_needs_no_rights_of_kubernetes() -> None:
    spec = DEPLOYMENT["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert "serviceAccountName" not in spec
    assert {one["apiVersion"].partition("/")[0] for one in MANIFESTS} == {
        *("apps", "policy", "v1")
    }


def test_it_is_what_the_image_expects() -> None:
    image = (ROOT / "Containerfile").read_text()
    spec = DEPLOYMENT["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert f"USER {spec['securityContext']['runAsUser']}" in image
    assert f"EXPOSE {container['ports'][0]['containerPort']}" in image
    mounted = {volume["mountPath"] for volume in container["volumeMounts"]}
    assert mounted == {"/data", "/tmp", "/home/isokernel"}  # noqa: S108 -- a volume
    assert "ISOKERNEL_DATA_DIR=/data" in image
    assert "--home-dir /home/isokernel" in image


def test_the_image_has_what_the_settings_of_a_cluster_need() -> None:
    image = (ROOT / "Containerfile").read_text()
    [extras] = re.findall(r"pip install --no-cache-dir '\.\[([\w,]+)\]'", image)
    assert set(extras.split(",")) == {"postgresql", "s3", "otel"}


def test_what_a_clone_has_besides_is_not_copied_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {".git", "**/node_modules", "**/vendor"} <= {*ignored}
    # Podman and Buildah would read it in place of the other, and Docker wouldn't.
    assert not (ROOT / ".containerignore").exists()


def test_everything_selects_the_pods() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    for one in MANIFESTS:
        if one["kind"] == "Service":
            assert one["spec"]["selector"] == labels
        elif one["kind"] != "ConfigMap":
            assert one["spec"]["selector"]["matchLabels"] == labels
