"""Analysis sessions on real databases, with real governance and a planted snapshot of two components."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from contracts import explanation, model, snapshots
from contracts.base import Binary, Caller, Right, WorkspaceId
from contracts.data import DatasetRef
from contracts.errors import Forbidden, UnknownComponent, UnknownSnapshot
from contracts.governance import ROLES, Role
from contracts.session_events import EventDraft, PinComponent
from contracts.sessions import Access, JoinRequest, LinkRequest, SessionRequest
from contracts.steering import SteeringRequest
from orchestration.governance.service import Governance
from orchestration.migrate import upgrade
from orchestration.sessions.service import Sessions
from services.kit.db import Database
from services.kit.settings import Settings
from services.kit.tokens import load_token_key
from tests.gateway.conftest import START, Clock

SHA = "a" * 64
PREPROCESSING = model.Preprocessing(resize=4, crop=4, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
MODEL = model.ModelRef(
    id="m_1", name="net", architecture="timm:x", weights_sha256=SHA, preprocessing=PREPROCESSING,
    preprocess_sha256=SHA, model_sha256=SHA, config={},
)  # fmt: skip


def snapshot_called(name: str) -> explanation.Snapshot:
    return snapshots.Snapshot(
        id=f"s_{name}", name=name, model=MODEL, lineage=f"lineage-of-{name}", created_at=START, layers=[],
        dataset=DatasetRef(id="d_1", name="photos", content_sha256=SHA, order_sha256=SHA, n=3),
        encoder=snapshots.Encoder(name="e", fingerprint=SHA, width=4, text=True, null="template", note=""),
        request=snapshots.SnapshotRequest(model="m_1", dataset="d_1", layers=["blocks.1"]),
        index=snapshots.IndexFigures(generation="g", kind="flat", n=8, width=4, recall_at_20={}),
    )  # fmt: skip


class PlantedExplanation:
    """Two snapshots of a layer with eight components, visible in the workspace `default` only."""

    def snapshot(self, caller: Caller, snapshot: str) -> explanation.Snapshot:
        name = snapshot.removeprefix("s_")
        if name not in {"one", "two"} or caller.workspace != "default":
            raise UnknownSnapshot(f"no snapshot `{snapshot}`", field="snapshot")
        return snapshot_called(name)

    def component(self, caller: Caller, snapshot: str, layer: str, index: int, sign: int = 1):
        if layer != "blocks.1" or index >= 8:
            raise UnknownComponent("no such component", field="index")
        component = explanation.Component(
            ref=snapshots.ComponentRef(model="m_1", layer=layer, index=index, sign=sign), state="ok", n_valid=3,
            n_groups=None, clarity=0.5, clarity_z=None, polysemanticity=None, polysemanticity_z=None, redundancy=None,
            maximum=1.0, mean=0.1, minimum=0.0,
        )  # fmt: skip
        examples = [snapshots.Example(sample=sample, label=None, activation=1.0) for sample in range(2)]
        return explanation.ComponentDetail(
            snapshot=snapshot, lineage=f"lineage-of-{index}", component=component, examples=examples, lowest=[],
            histogram=explanation.Histogram(edges=[0.0, 1.0], counts=[3]), prototypes=[], nearest=[],
        )  # fmt: skip

    def search(self, caller: Caller, snapshot: str, query: explanation.SearchQuery) -> SimpleNamespace:
        """Components 3, 1 and 4 of snapshot `one`, 1, 3 and 4 of `two`."""
        found = self.snapshot(caller, snapshot)
        order = (3, 1, 4) if found.name == "one" else (1, 3, 4)
        hits = [
            SimpleNamespace(component=snapshots.ComponentRef(model="m_1", layer="blocks.1", index=index, sign=1))
            for index in order[: query.k]
        ]
        return SimpleNamespace(hits=hits, lineage=found.lineage)


class PlantedModel:
    """A model whose predictions every steering turns over."""

    def steering_preview(self, caller: Caller, model: str, query: SteeringRequest) -> SimpleNamespace:
        if Right.STEER not in caller.rights:
            raise Forbidden("not for you")
        return SimpleNamespace(flipped=True, variation=0.25)


class PlantedData:
    """Thumbnails of a dataset from which the second picture has gone."""

    def thumbnail(self, caller: Caller, dataset: str, index: int) -> Binary:
        if index == 1:
            raise UnknownSnapshot("gone")
        return Binary(b"RIFF", "image/webp", "t")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path) -> Iterator[Database]:
    url = (
        f"sqlite:///{tmp_path}/db.sqlite"
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql").new_database()
    )
    upgrade(url)
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(database, tmp_path, clock) -> Sessions:
    audit = SimpleNamespace(audit=lambda caller, audit: SimpleNamespace(id=audit, snapshot="s_one", passed=False))
    return Sessions(
        database, load_token_key(None, tmp_path), explanation=PlantedExplanation(), audit=audit, data=PlantedData(),
        model=PlantedModel(), clock=clock,
    )  # fmt: skip


@pytest.fixture
def person(database, tmp_path) -> Callable[..., Caller]:
    """Return a function that makes a user: `person("bob", Role.VIEWER, workspace="other")`."""
    governance = Governance(database, Settings(home=tmp_path))

    def make(name: str, role: Role = Role.ANALYST, workspace: str = "default") -> Caller:
        user = governance.add_member(name, role, workspace)
        return Caller(user=user, workspace=WorkspaceId(workspace), rights=ROLES[role])

    return make


@pytest.fixture
def alice(person) -> Caller:
    return person("alice")


@pytest.fixture
def session(sessions, alice) -> str:
    """An analysis session of Alice's on the snapshot `one`."""
    return sessions.begin(alice, SessionRequest(name="stripes", snapshot="one")).id


@pytest.fixture
def act(sessions, session, alice):
    """Return a function that adds an event to Alice's session."""

    def add(action, by=alice, **options):
        return sessions.act(by, session, EventDraft(action=action), **options)

    return add


@pytest.fixture
def joined(sessions, session, alice, person):
    """Return a function that makes a person and lets them in by a link."""

    def join(name, access=Access.EDIT, **options):
        caller = person(name, **options)
        link = sessions.share(alice, session, LinkRequest(access=access)).secret
        sessions.join(caller, JoinRequest(link=link))
        return caller

    return join


def pin(index: int, **options) -> PinComponent:
    return PinComponent(layer="blocks.1", index=index, **options)
