"""One tiny model for all tests of language models; nothing changes its weights."""

import pytest

from services.model.language.tiny import tiny_language_model


@pytest.fixture(scope="session")
def tiny():
    return tiny_language_model(seed=1)
