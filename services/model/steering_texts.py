"""Stages that steer a language model over many prompts: mean differences of texts, and batches of continuations."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from contracts.model import ModelRef
from contracts.steering import KeptPlaces
from services.kit.stages import StageFunction, Work

if TYPE_CHECKING:
    from services.model.interventions import Step
    from services.model.language.folder import LanguageModel
    from services.model.service import Models

ROWS = 32  # continuations written together


def steering_stages(models: Models) -> tuple[StageFunction, ...]:
    """The stages of an evaluation of steering that run the model."""
    return (
        StageFunction("steering-difference", 1, lambda work: mean_difference(work, models)),
        StageFunction("steered-texts", 1, lambda work: steered_texts(work, models)),
    )


def mean_difference(work: Work, models: Models) -> None:
    """Mean over the kept tokens of one concept's texts less that of other texts: `direction` [d] float32."""
    from services.model.language.capture import token_activations
    from services.model.languages import language_of, layer_norm

    ref, layer = ModelRef.model_validate(work.spec["model"]), str(work.spec["layer"])
    means = []
    with models.loaded(ref) as built:
        language = language_of(built)
        norm = layer_norm(models, ref, language, layer)
        for side in ("texts", "others"):
            texts = cast(list[str], work.spec[side])
            rows = []
            for found in token_activations(language, texts, [layer], medians={layer: norm}):
                rows.append(found.values[layer][found.kept[layer]].double().numpy())
                work.advance(0)
            means.append(np.concatenate(rows).mean(axis=0))
            work.advance(len(texts))
    work.emit_arrays("direction", {"direction": (means[0] - means[1]).astype(np.float32)})


def steered_texts(work: Work, models: Models) -> None:
    """Continue all prompts of one setting, and score each text by the unsteered model.

    Perplexity is that of the text after the plain prompt, also where an instruction was given.
    """
    from services.model.interventions import steered
    from services.model.language.generate import Sampling, generate, prompt_of, texts_of
    from services.model.language.perplexity import continuation_perplexity
    from services.model.languages import language_of

    spec = work.spec
    asked, plain = cast(list[str], spec["asked"]), cast(list[str], spec["prompts"])
    seeds = cast(list[int], spec["seeds"])
    sampling = Sampling(int(str(spec["max_tokens"])), float(str(spec["temperature"])), int(str(spec["top_k"])))
    rows = [(place, seed) for place in range(len(plain)) for seed in seeds]
    ref, texts, perplexity = ModelRef.model_validate(spec["model"]), list[str](), list[float | None]()
    with models.loaded(ref) as built:
        language = language_of(built)
        steps = _steps(work, models, ref, language)
        for start in range(0, len(rows), ROWS):
            some = rows[start : start + ROWS]
            prompts = [prompt_of(language.tokenizer, asked[place], seed=seed) for place, seed in some]
            with steered(language.model, rows=[steps] * len(some)) as steering:
                written = texts_of(generate(language, prompts, sampling, steering=steering), len(some))
            for (place, _), text in zip(some, written, strict=True):
                before = prompt_of(language.tokenizer, plain[place]).ids
                perplexity.append(continuation_perplexity(language, before, text))
            texts += written
            work.advance(len(some))
    work.emit_record("texts", {"texts": texts, "perplexity": perplexity})


def _steps(work: Work, models: Models, ref: ModelRef, language: LanguageModel) -> list[Step]:
    """The addition of one setting, strength in median norms; none for text that is not steered."""
    import torch

    from services.model.interventions import Step
    from services.model.interventions.steps import unit_vector
    from services.model.languages import layer_norm

    if work.spec["layer"] is None:
        return []
    layer = str(work.spec["layer"])
    given = work.spec["vector"]
    vector = work.arrays("direction")["direction"] if given is None else np.asarray(given, np.float64)
    strength = float(str(work.spec["strength"])) * layer_norm(models, ref, language, layer)
    direction = unit_vector(torch.from_numpy(np.asarray(vector, np.float64)))
    return [Step(layer, direction, "add", strength, places=KeptPlaces())]
