"""`xsys demo language` on the tiny pair: what it builds, and what it prints."""

import pytest

from orchestration.bootstrap import language_pair
from orchestration.cli.desk import Desk
from orchestration.cli.language_demo import build, show, tiny_plan
from tests.language_world import LanguageWorld


class Here:
    """Jobs that are run in this process as soon as they are submitted."""

    def __init__(self, world: LanguageWorld) -> None:
        self.world = world

    def __getattr__(self, name):
        def submit(caller, *values, **more):
            job = getattr(self.world.wiring.jobs, name)(caller, *values, **more)
            if name not in {"job", "jobs"}:
                self.world.run(job)
            return job

        return submit


@pytest.mark.slow
def test_the_demo_carries_labels_reads_a_text_and_steers(tmp_path, capsys):
    world = LanguageWorld(tmp_path)
    wiring, me = world.wiring, world.me
    desk = Desk(
        me, wiring.data, wiring.model, wiring.explanation, Here(world), wiring.governance, wiring.alignment,
        wiring.comparison, wiring.audit, wiring.atlas, wiring.sessions,
        watch=lambda job: iter([wiring.jobs.job(me, job)]),
    )  # fmt: skip
    plan = tiny_plan(tmp_path / "pair", language_pair, 1000)
    found = build(desk, plan, quiet=True)
    assert found.layers[0].state == "ok"
    assert build(desk, plan, quiet=True).id == found.id
    show(desk, plan, found)
    printed = capsys.readouterr().out
    for part in ("cross-entropy recovered", "tokens alone", "read in the subject", "' planet'"):
        assert part in printed
