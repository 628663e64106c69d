import pytest
import torch

from contracts.errors import NonFiniteActivation, UnknownLayer, UnknownPooling
from contracts.language import NoTokens, PromptTooLong, UnsupportedLanguageModel
from services.model.language.capture import (
    in_order,
    last_block,
    norm_medians,
    pooled_activations,
    stopped_after,
    token_activations,
)
from services.model.language.layout import require_site, sites_of
from services.model.language.pools import pooled, storage_dtype
from services.model.language.tiny import tiny_language_model

TEXTS = ["the cat sat", "on 12 mats, then", "a", "another rather longer window of text"]
RESIDUAL, MLP, ATTENTION = "model.layers.1", "model.layers.1.mlp", "model.layers.1.self_attn"
LAYERS = [RESIDUAL, MLP, ATTENTION]


def hooks_of(model):
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.fixture(scope="module")
def medians(tiny):
    return norm_medians(tiny, TEXTS, LAYERS)


def test_the_sites_of_a_model_are_attention_mlp_and_residual_of_every_block(tiny):
    sites = sites_of(tiny.model, "llama")
    assert [site.name for site in sites[:3]] == ["model.layers.0.self_attn", "model.layers.0.mlp", "model.layers.0"]
    assert [site.kind for site in sites[3:6]] == ["attention", "mlp", "residual"]
    assert len(sites) == 9


def test_unknown_sites_and_architectures_are_refused(tiny):
    with pytest.raises(UnknownLayer) as refused:
        require_site(tiny.model, "llama", "model.layers.9")
    assert refused.value.facts["closest"][0].startswith("model.layers.")
    with pytest.raises(UnsupportedLanguageModel):
        sites_of(tiny.model, "mamba")
    with pytest.raises(UnsupportedLanguageModel, match="no blocks"):
        sites_of(tiny.model, "gpt2")


def test_texts_of_like_length_are_run_together_and_put_back_in_order(tiny, medians):
    batches = list(token_activations(tiny, TEXTS, LAYERS, medians=medians, batch=2))
    lengths = [len(tiny.tokenizer.encode(text)) for text in TEXTS]
    run = [window for batch in batches for window in dict.fromkeys(batch.window.tolist())]
    assert run == sorted(range(4), key=lengths.__getitem__) != [0, 1, 2, 3]
    put_back, together = in_order(batches), in_order(token_activations(tiny, TEXTS, LAYERS, medians=medians, batch=4))
    assert put_back.window.tolist() == [text for text in range(4) for _ in range(lengths[text])]
    for name in ("window", "position", "ids", "spans"):
        assert torch.equal(getattr(put_back, name), getattr(together, name))
    for layer in LAYERS:
        torch.testing.assert_close(put_back.values[layer], together.values[layer], atol=1e-5, rtol=1e-5)


def test_values_are_those_of_the_text_alone_whatever_the_batch_is(tiny, medians):
    together = list(token_activations(tiny, TEXTS, LAYERS, medians=medians, batch=4))
    assert len(together) == 1
    for number, text in enumerate(TEXTS):
        ids = torch.tensor([[0, *tiny.tokenizer.encode(text)]])
        with torch.inference_mode():
            states = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states
        mine = together[0].values[RESIDUAL][together[0].window == number]
        assert torch.allclose(mine, states[2][0, 1:], atol=1e-4)
    assert together[0].position[together[0].window == 0].tolist() == list(
        range(1, len(tiny.tokenizer.encode(TEXTS[0])) + 1)
    )


def test_the_residual_stream_after_the_last_block_is_taken_before_the_final_norm(tiny):
    name = "model.layers.2"
    found = next(token_activations(tiny, TEXTS[:1], [name], medians={name: 1e9}))
    ids = torch.tensor([[0, *tiny.tokenizer.encode(TEXTS[0])]])
    with torch.inference_mode():
        after_norm = tiny.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, 1:]
    assert not torch.allclose(found.values[name], after_norm, atol=1e-2)
    with torch.inference_mode():
        assert torch.allclose(tiny.model.model.norm(found.values[name]), after_norm, atol=1e-4)


def test_spans_cover_the_characters_of_the_window(tiny, medians):
    found = next(token_activations(tiny, ["the cat"], [RESIDUAL], medians=medians))
    assert [("the cat"[a:b]) for a, b in found.spans.tolist()] == ["th", "e", " ", "c", "a", "t"]


def test_nothing_after_the_last_wanted_site_runs_and_no_hook_is_left(tiny):
    ran, before = [], hooks_of(tiny.model)
    handle = tiny.model.model.layers[1].mlp.register_forward_hook(lambda *_: ran.append("mlp"))
    try:
        with stopped_after(tiny.model, [require_site(tiny.model, "llama", ATTENTION)]) as run:
            found = run(torch.tensor([[0, 5, 6]]))
    finally:
        handle.remove()
    assert ran == [] and list(found) == [ATTENTION]
    assert hooks_of(tiny.model) == before  # transformers keeps some of its own


def test_an_exception_leaves_no_hook(tiny):
    before = hooks_of(tiny.model)
    with pytest.raises(IndexError), stopped_after(tiny.model, sites_of(tiny.model, "llama")) as run:
        run(torch.tensor([[0, 99_999]]))
    assert hooks_of(tiny.model) == before


def test_a_token_beyond_ten_median_norms_is_a_sink_and_not_kept(tiny):
    found = next(token_activations(tiny, TEXTS[:1], [RESIDUAL], medians={RESIDUAL: 1e-3}))
    norms = torch.linalg.vector_norm(found.values[RESIDUAL], dim=1)
    assert not found.kept[RESIDUAL].any()
    threshold = float(norms.sort().values[2:4].mean())
    found = next(token_activations(tiny, TEXTS[:1], [RESIDUAL], medians={RESIDUAL: threshold / 10}))
    assert torch.equal(found.kept[RESIDUAL], norms <= threshold)
    assert int(found.kept[RESIDUAL].sum()) == 3


def test_pools_by_window_have_the_values_of_the_formula():
    values = torch.tensor([[1.0, -9.0], [3.0, 2.0], [2.0, 2.0], [5.0, 4.0], [-7.0, 0.5]])
    windows = torch.tensor([0, 0, 0, 0, 1])
    expected = {
        "max": [[5.0, 4.0], [-7.0, 0.5]],
        "mean": [[2.75, -0.25], [-7.0, 0.5]],
        "last": [[5.0, 4.0], [-7.0, 0.5]],
        "top3": [[10 / 3, 8 / 3], [-7.0, 0.5]],
        "absmax": [[5.0, -9.0], [-7.0, 0.5]],
    }
    for pool, due in expected.items():
        assert torch.allclose(pooled(values, windows, 2, pool), torch.tensor(due)), pool
    with pytest.raises(UnknownPooling):
        pooled(values, windows, 2, "median")
    with pytest.raises(NoTokens) as refused:
        pooled(values, windows, 3, "max")
    assert refused.value.facts["window"] == 2


def test_pooling_in_batches_is_pooling_at_once(tiny, medians):
    one = pooled_activations(tiny, TEXTS, LAYERS, ["max", "mean", "last", "top3"], medians=medians, batch=1)
    all_at_once = pooled_activations(tiny, TEXTS, LAYERS, ["max", "mean", "last", "top3"], medians=medians, batch=4)
    assert one.keys() == all_at_once.keys() and len(one) == 12
    for key, values in one.items():
        assert values.shape == (4, 32) and torch.allclose(values, all_at_once[key], atol=1e-4)


def test_the_prefix_never_enters_a_pool(tiny, medians):
    only = pooled_activations(tiny, ["a"], [RESIDUAL], ["max", "mean"], medians=medians)
    assert torch.equal(only[RESIDUAL, "max"], only[RESIDUAL, "mean"])


def test_windows_without_tokens_and_beyond_the_context_are_refused_by_index(tiny, medians):
    with pytest.raises(NoTokens) as refused:
        pooled_activations(tiny, ["a", "b", ""], [RESIDUAL], ["max"], medians=medians, batch=2)
    assert refused.value.facts["window"] == 2
    with pytest.raises(PromptTooLong) as refused:
        pooled_activations(tiny, ["a", "x" * 256], [RESIDUAL], ["max"], medians=medians)
    assert refused.value.facts == {"window": 1, "needed": 257, "limit": 256}


def test_a_window_that_is_not_finite_is_named(medians):
    broken = tiny_language_model(seed=1)
    broken.model.model.embed_tokens.weight[broken.tokenizer.encode("Z")[0]] = float("nan")
    with pytest.raises(NonFiniteActivation) as refused:
        pooled_activations(broken, ["a", "bZ"], [RESIDUAL], ["max"], medians=medians)
    assert refused.value.facts["window"] == 1


def test_values_beyond_float16_are_stored_in_bfloat16(tiny):
    assert storage_dtype(65_504.0) == torch.float16
    assert storage_dtype(65_505.0) == torch.bfloat16
    assert last_block(tiny, 0.5) == "model.layers.1" and last_block(tiny, 1.0) == "model.layers.2"
