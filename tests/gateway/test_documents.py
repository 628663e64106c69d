"""The committed OpenAPI documents are what the contracts say today, and clean enough to generate types from."""

from __future__ import annotations

import json

import pytest

from contracts.base import operations_of
from orchestration.gateway.documents import FOLDER, main, render_documents
from orchestration.gateway.protocols import PROTOCOLS
from services.kit.expose import service_name

NAMES = (
    "gateway",
    "data",
    "model",
    "explanation",
    "alignment",
    "comparison",
    "audit",
    "atlas",
    "jobs",
    "governance",
    "sessions",
)
RENDERED = render_documents()


def test_there_is_one_document_for_each_service_and_one_for_the_gateway():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(NAMES) == sorted(RENDERED)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_document_is_what_the_contract_says_today(name):
    committed = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert committed == RENDERED[name], f"stale: make contracts ({name})"


def test_rendering_twice_gives_the_same_bytes():
    assert render_documents() == RENDERED


@pytest.mark.parametrize("name", NAMES)
def test_no_schema_has_two_names_and_none_is_missing(name):
    document = json.loads(RENDERED[name])
    schemas = document["components"]["schemas"]
    assert not [schema for schema in schemas if schema.endswith(("-Input", "-Output")) or "__" in schema]
    used = {part.partition('"')[0] for part in RENDERED[name].split("#/components/schemas/")[1:]}
    assert used <= schemas.keys()


def test_every_operation_names_its_right_and_its_refusals():
    document = json.loads(RENDERED["gateway"])
    operations = {op["operationId"]: op for verbs in document["paths"].values() for op in verbs.values()}
    declared = {f"{service_name(protocol)}_{name}" for protocol in PROTOCOLS for name in operations_of(protocol)}
    assert declared <= operations.keys()
    assert operations.keys() - declared == {
        "jobs_events", "login_log_in", "login_log_out", "login_session", "model_generation_events", "sessions_events",
        "login_by_password", "login_accept_invitation", "login_choose_password", "login_change_password",
    }  # fmt: skip
    undecided = {name for name, operation in operations.items() if "x-right" not in operation}
    assert undecided == {"login_log_in", "login_by_password", "login_accept_invitation", "login_choose_password"}
    assert operations["data_dataset"]["responses"]["404"]["description"] == "UnknownDataset"
    assert all("default" in operation["responses"] for operation in operations.values())


def test_unions_tell_their_kinds_apart_by_a_discriminator():
    schemas = json.loads(RENDERED["gateway"])["components"]["schemas"]
    term = schemas["SearchQuery"]["properties"]["terms"]["items"]
    assert sorted(term["discriminator"]["mapping"]) == ["component", "picture", "sample", "text"]


def test_the_caller_is_never_a_parameter():
    parameters = {
        parameter["name"]
        for path, verbs in json.loads(RENDERED["gateway"])["paths"].items()
        if not path.startswith("/v1/members/{user}/")  # somebody else, whom an admin names
        for operation in verbs.values()
        for parameter in operation.get("parameters", [])
    }
    assert not parameters & {"caller", "rights", "workspace", "user", "if_none_match", "if-none-match"}


def test_check_says_which_document_is_stale(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("orchestration.gateway.documents.FOLDER", tmp_path)
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "jobs.json").write_text("{}")
    (tmp_path / "left_over.json").write_text("{}")
    assert main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("stale: jobs, left_over;")


def test_the_application_serves_the_committed_document(anonymous):
    assert anonymous.get("/v1/openapi.json").json() == json.loads((FOLDER / "gateway.json").read_text())


def test_the_page_of_operations_works_without_scripts(anonymous):
    page = anonymous.get("/v1/docs").text
    assert "/v1/snapshots/{snapshot}/search" in page
    assert "<script" not in page
