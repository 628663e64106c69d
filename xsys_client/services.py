"""Every operation of every contract, asked as one caller: made from the declarations, so nothing can be missing."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx

import contracts
from contracts.base import Caller, Right, UserId, WorkspaceId, operations_of
from services.kit.expose import service_name
from services.kit.remote import remote

NOBODY = Caller(user=UserId("token"), workspace=WorkspaceId("token"), rights=frozenset(Right))  # the server decides


def protocols() -> dict[str, type]:
    """Find the service protocols, by the names under which the workbench has them."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(contracts.__path__, "contracts."):
        for member in vars(importlib.import_module(module.name)).values():
            declared = inspect.isclass(member) and member.__module__ == module.name
            if declared and getattr(member, "_is_protocol", False) and operations_of(member):
                found[service_name(member)] = member
    return found


def bound(protocol: type, http: httpx.Client, credentials: Callable[[Caller], dict[str, str]]) -> SimpleNamespace:
    """Make a client of one service whose methods are those of the contract without `caller`."""
    service = remote(protocol, http, credentials=credentials)
    made = SimpleNamespace()
    for name in operations_of(protocol):
        setattr(made, name, _method(protocol, name, getattr(service, name)))
    return made


def _method(protocol: type, name: str, asked: Callable[..., Any]) -> Callable[..., Any]:
    declared = getattr(protocol, name)
    signature = inspect.signature(declared)
    kept = [parameter for parameter in signature.parameters.values() if parameter.name not in {"self", "caller"}]

    def ask(*given: Any, **named: Any) -> Any:
        return asked(NOBODY, *given, **named)

    ask.__name__ = name
    ask.__qualname__ = f"{service_name(protocol)}.{name}"
    ask.__doc__ = inspect.cleandoc(declared.__doc__ or "")
    ask.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    ask.__annotations__ = {key: hint for key, hint in declared.__annotations__.items() if key != "caller"}
    return ask
