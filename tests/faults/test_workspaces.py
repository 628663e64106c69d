"""Whatever a workspace has, another one cannot find: every operation of every contract, with the ids of real things."""

from __future__ import annotations

import io
import shutil
import zipfile
from typing import Any

import pytest
from fastapi.testclient import TestClient

from contracts.base import Caller, Contract, Right, operations_of
from contracts.data import DatasetRegistration, UploadSource
from contracts.errors import UnreadableSource, XsysError
from contracts.governance import Role, TokenRequest
from contracts.members import InvitationRequest
from contracts.session_events import EventDraft, WriteNote
from contracts.sessions import JoinRequest, LinkRequest, SessionRequest
from orchestration.bootstrap import build
from orchestration.gateway.app import create_app
from orchestration.gateway.protocols import PROTOCOLS
from services.kit.expose import service_name
from tests.contracts.instances import AS, AUDIT_ID, NOTE
from tests.contracts.instances_governance import LINEAGE_KEY
from tests.contracts.planted import PLAIN
from tests.faults.everything import settings_in

pytestmark = pytest.mark.slow
OPERATIONS = [(service_name(protocol), name) for protocol in PROTOCOLS for name in operations_of(protocol)]
# what names nothing that belongs to a workspace; a list of what does must be empty elsewhere
PUBLIC = {"explanation.encoders", "model.attribution_methods"}
LISTS = {
    "data.datasets", "model.models", "explanation.snapshots", "alignment.comparisons", "audit.audits", "atlas.captures",
    "atlas.saes", "atlas.atlases", "atlas.alignments", "jobs.jobs", "sessions.sessions", "governance.tokens",
    "governance.invitations",
}  # fmt: skip
OWN = {
    "governance.me", "governance.create_token", "governance.members", "governance.invite", "governance.audit_log",
    "governance.verify_audit_log", "data.upload", "jobs.register_model", "jobs.register_dataset", "jobs.usage",
}  # fmt: skip
READS = [
    (service_name(protocol), name)
    for protocol in PROTOCOLS
    for name, operation in operations_of(protocol).items()
    if operation.verb == "GET" and f"{service_name(protocol)}.{name}" not in PUBLIC | OWN
]


class Here:
    """An installation with something of every kind, who owns it, and an admin of another workspace."""

    def __init__(self, settings) -> None:
        self.wiring = wiring = build(settings)
        self.owner = wiring.governance.operator()
        stranger = wiring.governance.add_member("stranger", Role.ADMIN, "elsewhere")
        self.stranger = Caller(user=stranger, workspace="elsewhere", rights=frozenset(Right) - {Right.SERVER_PATHS})
        self.services = dict(
            zip(
                (service_name(protocol) for protocol in PROTOCOLS),
                (
                    wiring.governance, wiring.data, wiring.model, wiring.explanation, wiring.alignment,
                    wiring.comparison, wiring.audit, wiring.atlas, wiring.jobs, wiring.sessions,
                ),
                strict=True,
            )
        )  # fmt: skip
        self.ids = self.real_ids()

    def real_ids(self) -> dict[str, str]:
        """What the planted ids stand for."""
        wiring, me = self.wiring, self.owner
        snapshot = next(one.id for one in wiring.explanation.snapshots(me).items if one.name == "s")
        session = wiring.sessions.begin(me, SessionRequest(name="ours", snapshot=snapshot))
        wiring.sessions.act(me, session.id, EventDraft(action=WriteNote(note=None, text="ours", base=0)))
        note = wiring.sessions.session(me, session.id).state.notes[0].id
        self.link = wiring.sessions.share(me, session.id, LinkRequest(access="edit", days=3))
        token = wiring.governance.create_token(me, TokenRequest(name="ours", days=2)).token.id
        invitation = wiring.governance.invite(me, InvitationRequest(role=Role.VIEWER, days=3)).id
        datasets = {one.ref.name: one.ref.id for one in wiring.data.datasets(me, 100).items}
        models = {one.ref.name: one.ref.id for one in wiring.model.models(me, 100).items}
        jobs = {one.kind: one.id for one in wiring.jobs.jobs(me, 100).items}
        self.jobs = {
            "pruning": jobs["pruning"],
            "curve": jobs["training"],
            "attribution_evaluation": jobs["attribution-evaluation"],
            "steering_evaluation": jobs["steering-evaluation"],
        }
        alignment = wiring.atlas.alignments(me).items[0].id
        return {
            "m_1": models["cnn"], "m_2": models["cnn"],
            "d_1": datasets["scenes"], "my photos": "scenes", "texts": datasets["texts"],
            "s_1": snapshot, "s_2": snapshot, "small": "s", AUDIT_ID: wiring.audit.audits(me).items[0].id,
            "l_0123456789abcdef": wiring.explanation.labels(me, snapshot).items[0].id,
            "c_1": wiring.alignment.comparisons(me).items[0].id, "sae_1": wiring.atlas.saes(me).items[0].id,
            "my sae": "sae", "atlas_1": wiring.atlas.atlases(me).items[0].id, "my atlas": "atlas",
            "align_1": alignment, "align_2": alignment, "my capture": "of first", AS: session.id,
            "j_00000001": jobs["snapshot"], "u_1": me.user, "t_1": token, "l_1": invitation,
            LINEAGE_KEY: wiring.explanation.snapshot(me, snapshot).lineage,
            NOTE: note, "k_0123456789abcdef": self.link.link.id, "u b%2e": me.user,
        }  # fmt: skip

    def asked(self, service: str, name: str) -> dict[str, Any]:
        """The planted arguments of an operation, with real ids."""
        given = {
            key: value
            for key, value in PLAIN[f"{service}.{name}"][0].items()
            if key not in ("idempotency_key", "cursor")
        }
        if "job" in given and name in self.jobs:
            given["job"] = self.jobs[name]
        return {key: self.real(value) for key, value in given.items()}

    def real(self, value: Any) -> Any:
        """Put real ids in the place of planted ones, within contracts as well."""
        if isinstance(value, Contract):
            return type(value).model_validate(self.real(value.model_dump(mode="json")))
        if isinstance(value, dict):
            return {key: self.real(held) for key, held in value.items()}
        if isinstance(value, list):
            return [self.real(held) for held in value]
        return self.ids.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def here(quiet, tmp_path_factory):
    home = tmp_path_factory.mktemp("workspaces") / "home"
    shutil.copytree(quiet.home, home)  # what is tried here is not for the other tests
    found = Here(settings_in(home))
    yield found
    found.wiring.close()


def refusal(call) -> XsysError | None:
    try:
        call()
    except XsysError as error:
        return error
    return None


@pytest.mark.parametrize(("service", "name"), OPERATIONS, ids=[".".join(one) for one in OPERATIONS])
def test_what_is_there_cannot_be_found_from_another_workspace(service, name, here):
    called, operation = getattr(here.services[service], name), f"{service}.{name}"
    given = here.asked(service, name)
    found = None

    def ask() -> None:
        nonlocal found
        found = called(here.stranger, **given)

    refused = refusal(ask)
    if operation in PUBLIC | OWN:
        return
    if operation in LISTS:
        assert refused is None and found.items == []
        return
    assert refused is not None, f"{operation} answered {found!r:.200}"
    assert refused.status == 404, refused


@pytest.mark.parametrize(("service", "name"), READS, ids=[".".join(one) for one in READS])
def test_its_own_workspace_finds_it(service, name, here):
    """The other test would pass with ids of nothing: here the same arguments must not be answered by 404."""
    given = here.asked(service, name)
    refused = refusal(lambda: getattr(here.services[service], name)(here.owner, **given))
    about_workspace = {"UnknownModel", "UnknownDataset", "UnknownSnapshot", "UnknownAudit", "UnknownJob", "UnknownSae",
                       "UnknownAtlas", "UnknownAlignment", "UnknownCapture", "UnknownComparison", "UnknownSession",
                       "UnknownLabels", "UnknownArtifact"}  # fmt: skip
    assert refused is None or type(refused).__name__ not in about_workspace, refused


def test_a_link_into_a_session_does_not_lead_there_from_another_workspace(here):
    refused = refusal(lambda: here.wiring.sessions.join(here.stranger, JoinRequest(link=here.link.secret)))
    assert refused is not None and refused.status == 404


def test_an_upload_of_another_workspace_is_as_good_as_none(here):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", b"x")
    sent = here.wiring.data.upload(here.owner, packed.getvalue()).upload
    told = [
        refusal(lambda upload=upload: here.wiring.jobs.register_dataset(
            here.stranger, DatasetRegistration(name="mine", source=UploadSource(upload=upload))
        ))
        for upload in (sent, "0" * 64)
    ]  # fmt: skip
    assert [type(one) for one in told] == [UnreadableSource, UnreadableSource] and str(told[0]) == str(told[1])


def test_streams_are_not_found_either(here):
    client = TestClient(create_app(here.wiring), base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    link = here.wiring.governance.login_link(here.stranger.user, "elsewhere").partition("#")[2]
    client.headers["X-CSRF-Token"] = client.post("/v1/login", json={"link": link}).json()["csrf"]
    for path in (f"/v1/jobs/{here.ids['j_00000001']}/events", f"/v1/sessions/{here.ids[AS]}/events"):
        assert client.get(path).status_code == 404
    body = {"prompt": "a", "tokens": 1}
    assert client.post(f"/v1/models/{here.ids['m_1']}/generations/events", json=body).status_code in (404, 422)
