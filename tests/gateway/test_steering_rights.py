"""Steering needs its own right: whoever looks, and whoever signs audits off, may not steer."""

import pytest

from contracts.governance import Role

BODY = {
    "sample": {"dataset": "d_1", "index": 0},
    "interventions": [{"target": {"kind": "component", "layer": "blocks.1", "index": 0}, "change": "ablate"}],
}


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.AUDITOR, 403), (Role.ANALYST, 200)])
def test_only_who_has_the_right_to_steer_reaches_the_model_service(role, status, logged_in, world):
    answer = logged_in(role).post("/v1/models/m_1/steering-preview", json=BODY)
    asked = [name for name, _ in world.model.asked]
    if status == 403:
        assert (answer.status_code, answer.json()["title"], asked) == (403, "Forbidden", [])
        assert "`steer`" in answer.json()["detail"]
    else:
        assert asked == ["steering_preview"]
