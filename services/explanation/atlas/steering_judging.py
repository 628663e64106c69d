"""The stages that judge steered texts, and turn the scores into figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import numpy as np

from contracts.steering_evaluation import SteeringEvaluationRequest
from services.explanation.atlas.statistics import Floats
from services.explanation.atlas.steering_figures import Scores, arms_of, settings_of, shown_texts
from services.explanation.atlas.steering_scores import ConceptJudge, fluency, leaked_words, relevance, total
from services.explanation.atlas.term_labels import WORD, words_of
from services.explanation.encoders.registry import EncoderCache
from services.kit.arrays import load_arrays
from services.kit.repetition import repetition
from services.kit.stages import StageFunction, Work

SHORTEST = 3  # letters of a word that can leak
HELD_OUT = 4  # every fourth text of the judge's judges the judge
FEWEST_WORDS = 3


def judging_stages(encoders: EncoderCache) -> tuple[StageFunction, ...]:
    """The stages of an evaluation of steering that need no language model."""
    return (
        StageFunction("judge-steering", 2, lambda work: judge_steering(work, encoders)),
        StageFunction("steering-figures", 1, steering_figures),
    )


def without(text: str, words: frozenset[str]) -> str:
    """A text without some words, and without words that begin with one of them (`matrices` stays, `matrixes` goes)."""

    def kept(found: re.Match[str]) -> str:
        word = found.group().casefold()
        return "" if word in words or any(word.startswith(one) for one in words if len(one) > SHORTEST) else word

    return " ".join(WORD.sub(kept, text).split())


def judge_steering(work: Work, encoders: EncoderCache) -> None:
    """Train the judge of one concept on texts that nothing was steered by, and score every setting's texts.

    Raises
    ------
    JudgeLeak : `guard` is `refuse`, and a word that chose the latents is in the texts. TooFewPositives : too few texts
    are left once those words are gone.
    """
    spec = work.spec
    concept, others, chosen_by = (cast(list[str], spec[name]) for name in ("texts", "others", "chosen_by"))
    prompts, roles, samples = (
        cast(list[str], spec["prompts"]),
        cast(list[str], spec["roles"]),
        int(str(spec["samples"])),
    )
    hidden = frozenset(word for text in chosen_by for word in words_of(text) if len(word) >= SHORTEST)
    removed = leaked_words(concept, chosen_by)
    if spec["guard"] == "remove":
        concept, others = (_cleaned(texts, hidden) for texts in (concept, others))
    written = {role: work.record(role) for role in ("calibration", *roles)}
    texts = {role: cast(list[str], one["texts"]) for role, one in written.items()}
    read = {role: [without(text, hidden) or "." for text in some] for role, some in texts.items()}
    encode = encoders.get(str(spec["encoder"])).encode_texts
    unique = [*dict.fromkeys([*concept, *others, *prompts, *(text for some in read.values() for text in some)])]
    unique = [*dict.fromkeys([*unique, *(text or "." for some in texts.values() for text in some)])]
    rows: list[Floats] = []
    for start in range(0, len(unique), 64):
        rows.append(encode(unique[start : start + 64]))
        work.advance(0)
    embed = dict(zip(unique, np.concatenate(rows), strict=True))
    held, kept = [texts[::HELD_OUT] for texts in (concept, others)], [_rest(texts) for texts in (concept, others)]
    judge = ConceptJudge.train(kept[0], kept[1], read["calibration"], embed=embed, chosen_by=chosen_by)
    perplexity = {role: _numbers(one["perplexity"]) for role, one in written.items()}
    calm = perplexity["calibration"][np.isfinite(perplexity["calibration"])]
    near = _cosines(prompts, texts["calibration"], embed)
    found = dict[str, list[np.ndarray]]()
    for role in roles:
        worth = np.nan_to_num(perplexity[role], nan=np.inf)
        repeats = np.array([repetition(text) for text in texts[role]])
        scores = {
            "concept": judge.scores(read[role], embed), "fluency": fluency(texts[role], worth, calm),
            "relevance": relevance(_cosines(prompts, texts[role], embed), near), "perplexity": perplexity[role],
            "distinct": repeats[:, 0], "repeated": repeats[:, 1],
        }  # fmt: skip
        scores["total"] = total(scores["concept"], scores["fluency"], scores["relevance"])
        for name, values in scores.items():
            found.setdefault(name, []).append(values.astype(np.float64).reshape(len(prompts), samples))
        work.advance(1)
    work.emit_arrays("scores", {name: np.stack(values) for name, values in found.items()})
    work.emit_record(
        "judge",
        {
            "removed": removed, "texts_sha256": judge.concept_sha256,
            "recall": float((judge.scores(held[0], embed) > 0).mean()),
            "false_positives": float((judge.scores(held[1], embed) > 0).mean()),
        },
    )  # fmt: skip


def steering_figures(work: Work) -> None:
    """Rates, fluency, front and windows over all concepts and prompts, with intervals."""
    request = SteeringEvaluationRequest.model_validate(work.spec["request"])
    concepts = cast(list[dict[str, object]], work.spec["concepts"])
    settings = cast(list[dict[str, object]], work.spec["settings"])
    stored = [load_arrays(work.path(f"scores/{number}")) for number in range(len(concepts))]
    scores = Scores(settings, {name: np.stack([one[name] for one in stored]) for name in stored[0]}, request.seed)
    judges = [work.record(f"judge/{number}") for number in range(len(concepts))]
    found, arms = settings_of(scores), arms_of(scores)

    def texts(concept: int, role: str) -> list[str]:
        return cast(list[str], work.record(f"texts/{concept}/{role}")["texts"])

    work.emit_record(
        "evaluation",
        {
            "request": request.model_dump(mode="json"), "settings": [one.model_dump(mode="json") for one in found],
            "arms": [one.model_dump(mode="json") for one in arms],
            "concepts": [{**one, **judge} for one, judge in zip(concepts, judges, strict=True)],
            "texts": [one.model_dump(mode="json") for one in shown_texts(scores, arms, request, texts)],
        },
    )  # fmt: skip
    work.advance(1)


def _cleaned(texts: Sequence[str], hidden: frozenset[str]) -> list[str]:
    clean = [without(text, hidden) for text in texts]
    return [*dict.fromkeys(text for text in clean if len(words_of(text)) >= FEWEST_WORDS)]


def _rest(texts: Sequence[str]) -> list[str]:
    return [text for at, text in enumerate(texts) if at % HELD_OUT]


def _numbers(values: object) -> np.ndarray:
    return np.array([np.nan if one is None else one for one in cast(list[float | None], values)], np.float64)


def _cosines(prompts: Sequence[str], texts: Sequence[str], embed: dict[str, Floats]) -> np.ndarray:
    """Cosine of each text with the prompt that it continues; equally many texts a prompt, in the prompts' order."""
    each = len(texts) // len(prompts)
    return np.array([float(embed[prompts[at // each]] @ embed[text or "."]) for at, text in enumerate(texts)])
