"""Documents say what the code does today."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import contracts
import contracts.governance
from contracts import errors

ROOT = Path(__file__).parents[2]
for module in pkgutil.iter_modules(contracts.__path__, "contracts."):
    importlib.import_module(module.name)  # whichever tests run, all refusals are known
ON_THE_WIRE = [
    refusal
    for refusal in errors.REFUSALS.values()
    if refusal.__module__.startswith("contracts.") and refusal is not errors.XsysError
]


@pytest.mark.parametrize("refusal", ON_THE_WIRE, ids=lambda refusal: refusal.__name__)
def test_every_refusal_has_its_line_in_the_page_of_errors(refusal):
    page = (ROOT / "docs" / "errors.md").read_text()
    assert f"| `{refusal.__name__}` | {refusal.status} | {refusal.remedy} |" in page, (
        "write it: python -m contracts.errors"
    )


def test_every_setting_has_its_place_in_the_operating_page():
    from services.kit.settings import Settings

    page = (ROOT / "docs" / "operate.md").read_text()
    missing = [name for name in Settings.model_fields if f"XSYS_{name.upper()}" not in page]
    assert missing == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files_that_exist(page):
    targets = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text())
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_roles_hold_only_declared_rights():
    assert set().union(*contracts.governance.ROLES.values()) <= set(contracts.governance.OPERATOR)


def test_no_two_refusals_share_a_name_because_a_client_could_not_tell_them_apart():
    seen: dict[str, list[str]] = {}
    for module in pkgutil.iter_modules(contracts.__path__, "contracts."):
        importlib.import_module(module.name)
    waiting = [errors.XsysError]
    while waiting:
        refusal = waiting.pop()
        waiting += refusal.__subclasses__()
        if refusal.__module__.startswith("contracts."):
            seen.setdefault(refusal.__name__, []).append(refusal.__module__)
    assert {name: modules for name, modules in seen.items() if len(set(modules)) > 1} == {}


def test_no_figure_of_the_documents_was_typed_by_hand():
    from benchmarks.figures import PAGE, README, headlines, newest_results, page

    newest = newest_results()
    assert page(newest) == PAGE.read_text() and headlines(newest) in README.read_text(), "python -m benchmarks.figures"
