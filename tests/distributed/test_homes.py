"""Every contract is answered by one process, and every wiring attribute of it exists."""

from types import SimpleNamespace

from orchestration.bootstrap import Wiring
from orchestration.gateway.distance import GatewaySide
from orchestration.gateway.protocols import PROTOCOLS
from orchestration.processes import HOMES, Process
from services.kit.expose import service_name


def test_every_home_is_of_a_contract_that_the_gateway_answers():
    assert set(HOMES) <= set(PROTOCOLS)
    assert {service_name(protocol) for protocol in HOMES} <= Wiring.__dataclass_fields__.keys()
    assert set(HOMES.values()) == set(Process) - {Process.GATEWAY, Process.XUI}


def test_what_has_no_process_of_its_own_stays_in_the_gateway():
    inner = SimpleNamespace(jobs="rows", data="here")
    side = GatewaySide(inner, {"data": "there"})
    assert (side.data, side.jobs) == ("there", "rows")
