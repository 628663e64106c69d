"""The client offers every operation of every contract, typed as the contract says."""

from __future__ import annotations

import inspect

import pytest

from contracts.base import operations_of
from contracts.errors import Unauthenticated
from orchestration.gateway.protocols import PROTOCOLS
from services.kit.expose import service_name
from xsys_client import Workbench, connect

OPERATIONS = [(protocol, name) for protocol in PROTOCOLS for name in operations_of(protocol)]


@pytest.fixture(scope="module")
def workbench():
    with Workbench("http://127.0.0.1:9", "none") as made:
        yield made


@pytest.mark.parametrize(
    ("protocol", "name"), OPERATIONS, ids=[f"{service_name(protocol)}.{name}" for protocol, name in OPERATIONS]
)
def test_every_operation_is_there_with_the_contracts_signature(protocol, name, workbench):
    method = getattr(workbench.services[service_name(protocol)], name)
    declared = inspect.signature(getattr(protocol, name))
    expected = [parameter for parameter in declared.parameters.values() if parameter.name not in {"self", "caller"}]
    assert list(inspect.signature(method).parameters.values()) == expected
    assert inspect.signature(method).return_annotation == declared.return_annotation
    assert method.__doc__


def test_services_are_attributes_and_a_wrong_name_lists_them(workbench):
    assert workbench.audits is workbench.services["audit"]
    assert {"explanation", "audits", "analysis", "search"} <= set(dir(workbench))
    with pytest.raises(AttributeError, match="explanation"):
        _ = workbench.explanations


def test_without_a_token_nothing_is_asked(monkeypatch):
    monkeypatch.delenv("XSYS_TOKEN", raising=False)
    with pytest.raises(Unauthenticated, match="XSYS_TOKEN"):
        connect()
