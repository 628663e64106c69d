"""Loaded models: loaded once, kept while used, dropped when the budget is passed."""

import threading
import time

import pytest

from contracts.model import ModelRef, Preprocessing
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.settings import Settings
from services.model.adapters.port import Built
from services.model.service import Models

HOW = Preprocessing(resize=8, crop=8, mean=(0, 0, 0), std=(1, 1, 1))


class Counting(Models):
    """Loads a small linear layer and says how often."""

    loads = 0
    fail = False

    def _load(self, ref, precision, folded):
        import torch

        self.loads += 1
        time.sleep(0.05)
        if self.fail:
            raise OSError("gone")
        return Built(torch.nn.Linear(25, 10, bias=False), HOW)  # 1,000 B


@pytest.fixture
def models(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/x.sqlite")
    yield Counting(database, Blobs(tmp_path / "blobs"), Settings(home=tmp_path), budget=2500)
    database.close()


def ref(number):
    digest = f"{number:064x}"
    return ModelRef(
        id=f"m_{number}", name=f"m{number}", architecture="timm:resnet18", weights_sha256=digest,
        preprocessing=HOW, preprocess_sha256=digest, model_sha256=digest,
    )  # fmt: skip


def use(models, number):
    with models.loaded(ref(number)) as built:
        return built


def test_callers_at_once_share_one_load(models):
    found = []
    threads = [threading.Thread(target=lambda: found.append(use(models, 1))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert models.loads == 1 and len({id(built) for built in found}) == 1 and len(found) == 5


def test_the_least_recently_used_goes_first(models):
    first, second = use(models, 1), use(models, 2)
    assert use(models, 1) is first
    use(models, 3)
    assert use(models, 1) is first
    assert use(models, 2) is not second


def test_a_model_in_use_is_never_evicted(models):
    with models.loaded(ref(1)) as held:
        use(models, 2), use(models, 3), use(models, 4)
        assert use(models, 1) is held


def test_what_use_kept_beyond_the_budget_goes_when_it_ends(models):
    with models.loaded(ref(1)), models.loaded(ref(2)), models.loaded(ref(3)):
        assert len(models._held) == 3
    assert sum(held.size for held in models._held.values()) <= 2500


def test_a_failed_load_is_tried_again(models):
    models.fail = True
    with pytest.raises(OSError, match="gone"):
        use(models, 1)
    models.fail = False
    assert use(models, 1) is use(models, 1)
    assert models.loads == 2
