import gc
import weakref

import pytest
import torch

from contracts.language import PromptTooLong
from services.model.language import generate as generation
from services.model.language.generate import Prompt, Sampling, generate, prompt_of, texts_of

GREEDY = Sampling(max_tokens=12, temperature=0)


def texts(language, prompts, sampling):
    return texts_of(generate(language, prompts, sampling), len(prompts))


def tokens(language, prompts, sampling):
    found = [[] for _ in prompts]
    for piece in generate(language, prompts, sampling):
        found[piece.row].append(piece.token)
    return found


def test_greedy_continuation_is_that_of_whole_passes_without_a_cache(tiny):
    prompt = prompt_of(tiny.tokenizer, "the quick")
    ids = [0, *prompt.ids]
    for _ in range(12):
        with torch.inference_mode():
            ids.append(int(tiny.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert tokens(tiny, [prompt], GREEDY)[0] == ids[-12:]


def test_rows_of_unequal_prompts_are_continued_as_each_would_be_alone(tiny):
    prompts = [
        prompt_of(tiny.tokenizer, text, seed=seed) for text, seed in (("a", 3), ("a longer prompt", 4), ("a", 5))
    ]
    sampling = Sampling(max_tokens=10, temperature=0.9, top_k=20)
    alone = [tokens(tiny, [prompt], sampling)[0] for prompt in prompts]
    assert tokens(tiny, prompts, sampling) == alone
    assert alone[0] != alone[2]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(tiny):
    sampling = Sampling(max_tokens=20, temperature=1.0, top_k=0)
    first = texts(tiny, [prompt_of(tiny.tokenizer, "x", seed=1)], sampling)
    assert texts(tiny, [prompt_of(tiny.tokenizer, "x", seed=1)], sampling) == first
    assert texts(tiny, [prompt_of(tiny.tokenizer, "x", seed=2)], sampling) != first


def test_only_the_k_best_tokens_are_ever_drawn():
    logits = torch.tensor([0.0, 3.0, 2.9, -1.0, 2.8])
    draw = torch.Generator().manual_seed(0)
    drawn = {generation._draw(logits, Sampling(temperature=5.0, top_k=3), draw) for _ in range(200)}
    assert drawn == {1, 2, 4}
    assert generation._draw(logits, Sampling(temperature=0), draw) == 1


def test_draws_follow_the_softmax_at_the_temperature():
    logits = torch.tensor([0.0, 2.0])
    draw = torch.Generator().manual_seed(0)
    share = sum(generation._draw(logits, Sampling(temperature=2.0, top_k=2), draw) for _ in range(4000)) / 4000
    assert share == pytest.approx(1 / (1 + torch.e**-1), abs=0.03)


def test_a_stop_token_ends_its_row_and_the_others_go_on(tiny):
    prompts = [prompt_of(tiny.tokenizer, text) for text in ("first", "second one")]
    plain = tokens(tiny, prompts, GREEDY)
    stop = plain[0][3]
    stopped = type(tiny)(
        tiny.model,
        type(tiny.tokenizer)(tiny.tokenizer.backend, type(tiny.tokenizer.facts)((0,), (stop,), {})),
        "llama", tiny.context,
    )  # fmt: skip
    pieces = list(generate(stopped, prompts, GREEDY))
    first = [piece for piece in pieces if piece.row == 0]
    assert len(first) == plain[0].index(stop) + 1 and first[-1].end == "stop"
    shown = [piece.token for piece in first[:-1]]
    assert "".join(piece.text for piece in first) == tiny.tokenizer.decode(shown)
    second = [piece.token for piece in pieces if piece.row == 1]
    due = plain[1][: plain[1].index(stop) + 1] if stop in plain[1] else plain[1]
    assert second == due


def test_pieces_join_to_the_decoded_tokens_and_the_last_says_why_it_ended(tiny):
    pieces = list(generate(tiny, [prompt_of(tiny.tokenizer, "z", seed=9)], Sampling(30, 1.2, 0)))
    shown = [piece.token for piece in pieces if piece.end != "stop"]
    assert "".join(piece.text for piece in pieces) == tiny.tokenizer.decode(shown)
    assert [piece.end for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert pieces[-1].end in {"length", "stop"}


def test_bytes_that_are_no_whole_character_yet_are_held_back(tiny):
    batch = generation._Batch(tiny, [Prompt([5])], [0])
    told = []
    for token in tiny.tokenizer.encode("é🙂"):
        batch.written[0].append(token)
        told.append(generation._new_text(batch, 0, last=False))
    assert told == ["", "é", "", "", "", "🙂"]


def test_closing_the_stream_frees_the_cache_at_once(tiny, monkeypatch):
    made = []
    original = generation._Batch.__init__

    def watched(self, *arguments):
        original(self, *arguments)
        made.append(weakref.ref(self))

    monkeypatch.setattr(generation._Batch, "__init__", watched)
    stream = generate(tiny, [prompt_of(tiny.tokenizer, "abc")], Sampling(200, 0))
    next(stream)
    assert made[0]() is not None
    stream.close()
    gc.collect()
    assert made[0]() is None


def test_a_prompt_beyond_the_context_is_refused_before_anything_runs(tiny):
    with pytest.raises(PromptTooLong) as refused:
        generate(tiny, [prompt_of(tiny.tokenizer, "x" * 250)], Sampling(max_tokens=6))
    assert refused.value.facts == {"needed": 257, "limit": 256}
    assert len(tokens(tiny, [prompt_of(tiny.tokenizer, "x" * 250)], Sampling(max_tokens=5, temperature=0))[0]) <= 5


def test_what_a_steering_context_is_told_are_absolute_positions(tiny):
    class Told:
        def __init__(self):
            self.frames, self.kept_rows = [], []

        def at(self, *, positions, kept, prompt):
            self.frames.append((positions.tolist(), kept.tolist(), prompt.tolist()))

        def keep_rows(self, indices):
            self.kept_rows.append(list(indices))

    told = Told()
    list(generate(tiny, [Prompt([5, 6]), Prompt([7])], Sampling(max_tokens=2, temperature=0), steering=told))
    assert told.frames[0] == ([[0, 1, 2], [-1, 0, 1]], [[False, True, True], [False, False, True]], [3, 2])
    assert told.frames[1] == ([[3], [2]], [[True], [True]], [3, 2])
