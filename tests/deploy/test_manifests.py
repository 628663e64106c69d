"""What is committed for deployment agrees with the program: schemas, commands, settings, metrics."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from fastapi.testclient import TestClient
from typer.main import get_command

from orchestration.cli.app import app as command_line
from orchestration.cli.app import register_commands
from orchestration.processes import Process
from services.kit.settings import Misconfigured, Settings, load_settings
from tests.gateway.conftest import *  # noqa: F403

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MANIFESTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes/xsys.yaml").read_text()))
DASHBOARD = json.loads((ROOT / "deploy/grafana/xsys.json").read_text())

COMMAND = {"type": "array", "items": {"type": "string"}, "minItems": 1}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image", "restart"],
    "properties": {
        "image": {"type": "string"},
        "build": {"type": "object", "required": ["context", "dockerfile"]},
        "command": COMMAND,
        "environment": {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
        "volumes": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+:/"}},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:"}},
        "restart": {"enum": ["no", "unless-stopped"]},
        "init": {"type": "boolean"},
        "stop_grace_period": {"type": "string", "pattern": "^[0-9]+s$"},
        "depends_on": {"type": "object"},
        "healthcheck": {"type": "object", "required": ["test", "interval", "timeout", "retries"]},
    },
}


def workloads(kind: str) -> dict[str, dict]:
    return {document["metadata"]["name"]: document for document in MANIFESTS if document["kind"] == kind}


def composed() -> list[list[str]]:
    return [service["command"] for service in COMPOSE["services"].values() if "command" in service]


def commands() -> list[list[str]]:
    """Every `xsys …` command that compose or Kubernetes starts."""
    found = [command for command in composed() if command[0] == "xsys"]
    for document in (*workloads("Deployment").values(), *workloads("Job").values()):
        found += [container["command"] for container in document["spec"]["template"]["spec"]["containers"]]
    return found


@pytest.fixture(scope="module")
def tree():
    register_commands()
    return get_command(command_line)


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_compose_service_has_the_form_that_compose_reads(name):
    jsonschema.validate(COMPOSE["services"][name], SERVICE)


def test_compose_starts_every_process_and_keeps_it_alive():
    started = {" ".join(command[1:3]) for command in composed()}
    assert {f"serve {process}" for process in Process} | {"db upgrade", "worker --queues"} <= started
    assert ["xsys", "reaper"] in composed()
    redis = COMPOSE["services"]["redis"]["command"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"
    assert redis[redis.index("--appendonly") + 1] == "yes"


def test_compose_has_no_secret_in_it():
    text = (ROOT / "docker-compose.yml").read_text()
    for name in ("XSYS_TOKEN_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        assert f"${{{name}:?" in text, "missing ones must stop `docker compose up`"


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_command_line_knows_every_command_that_is_started(tree, command):
    words = [re.sub(r"\$\{[A-Z_]+:-(.*?)\}", r"\1", word) for word in command[1:]]
    while hasattr(tree, "commands") and words:
        tree = tree.commands[words.pop(0)]
    tree.make_context("xsys", words, resilient_parsing=False).close()


@pytest.mark.parametrize(
    "document", MANIFESTS, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
def test_a_kubernetes_manifest_is_valid(document):
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_every_process_that_answers_has_readiness_and_liveness_and_its_port():
    deployments, services = workloads("Deployment"), workloads("Service")
    for process in Process:
        (container,) = deployments[process]["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        (port,) = container["ports"]
        assert container["command"][-2:] == ["--port", str(port["containerPort"])]
        assert services[process]["spec"]["ports"][0]["port"] == port["containerPort"]
    assert "livenessProbe" in deployments["worker-cpu"]["spec"]["template"]["spec"]["containers"][0]


def test_settings_in_compose_and_kubernetes_are_settings_that_exist(monkeypatch):
    for environment in (COMPOSE["x-environment"], workloads("ConfigMap")["xsys"]["data"]):
        values = {name: re.sub(r"\$\{[A-Z_]+:-(.*?)\}", r"\1", str(value)) for name, value in environment.items()}
        with monkeypatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            load_settings(values)


def test_made_secrets_are_accepted_and_the_lack_of_them_is_refused_by_name():
    made = subprocess.run([ROOT / "deploy/make-env"], capture_output=True, text=True, check=True).stdout
    key = dict(line.split("=") for line in made.split())["XSYS_TOKEN_KEY"]
    whole = Settings(database_url="postgresql://h/x", broker_url="redis://h", token_key=key, threads=2)
    whole.require_distributed()
    with pytest.raises(Misconfigured) as refused:
        Settings(token_key="a" * 64).require_distributed()
    for name in ("XSYS_BROKER_URL", "XSYS_DATABASE_URL", "XSYS_TOKEN_KEY", "XSYS_THREADS"):
        assert name in refused.value.detail


def test_what_the_dashboard_and_the_autoscaler_ask_for_is_exported(app, world):
    with TestClient(app, base_url="http://127.0.0.1:8000", client=("127.0.0.1", 1)) as client:
        client.get("/healthz")
        exported = set(re.findall(r"^([a-z_]+)", client.get("/metrics").text, re.M))
    exported |= (
        {"xsys_stage_seconds", "xsys_stage_rate", "xsys_cache_bytes"} if "xsys_queue_depth" in exported else set()
    )
    asked = {name for panel in DASHBOARD["panels"] for target in panel["targets"]
             for name in re.findall(r"\b(?:xsys|process)_[a-z_]+", target["expr"])}  # fmt: skip
    asked |= {
        metric["external"]["metric"]["name"]
        for scaler in workloads("HorizontalPodAutoscaler").values()
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "External"
    }
    assert asked <= exported
