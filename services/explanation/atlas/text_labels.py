"""The stages that name latents of text without a language model, and judge each name on documents of its own.

Evidence is of training documents, the best of four candidates is chosen on validation documents, and the figure that is
published is of test documents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.atlas import AtlasRequest, LabellerUnavailable
from services.explanation.atlas.building import TIERS
from services.explanation.atlas.codes import Codes
from services.explanation.atlas.detection import Detection, Trial, detect, judge_labels, trial_of
from services.explanation.atlas.labeller import Labeller
from services.explanation.atlas.scores import auroc
from services.explanation.atlas.statistics import Floats
from services.explanation.atlas.term_labels import (
    TermLabel,
    contrast_label,
    output_label,
    token_label,
    words_of,
)
from services.explanation.encoders.registry import EncoderCache
from services.explanation.labels.vocabularies import imagenet, vocabulary_of
from services.explanation.measure import embeddings_of
from services.kit.arrays import load_arrays
from services.kit.corpora import Corpus, load_corpus
from services.kit.keys import sha256_of
from services.kit.stages import StageFunction, Work
from services.kit.windows import SPLITS

AROUND = 60  # characters on each side of a peak: about ten tokens
FEWEST, BACKGROUND, WORDS = 5, 200, 2000
PLAIN = ("{}",)


def text_label_stages(encoders: EncoderCache, labeller: Callable[[], Labeller | None]) -> tuple[StageFunction, ...]:
    """The stages of text atlases."""
    return (
        StageFunction("embed-windows", 1, lambda work: embed_windows(work, encoders)),
        StageFunction("label-text-latents", 1, lambda work: label_text_latents(work, encoders, labeller)),
    )


def embed_windows(work: Work, encoders: EncoderCache) -> None:
    """Sentence embeddings of one shard's windows: `unit` [n, d] float16."""
    corpus, windows = load_corpus(work.path("corpus")), load_arrays(work.path("text"), ["window"])["window"]
    texts = [one.text for one in corpus.passages(windows.tolist())]
    rows = []
    encoder = encoders.get(str(work.spec["encoder"]))
    for start in range(0, len(texts), 64):
        rows.append(encoder.encode_texts(texts[start : start + 64]))
        work.advance(len(rows[-1]))
    work.emit_arrays("embeddings", {"unit": np.concatenate(rows).astype(np.float16)})


@dataclass(frozen=True)
class Judged:
    """Everything that labels are made from and judged on.

    Attributes
    ----------
    texts : of all windows. codes : [N, m]. split, document : [N]. embeddings : [N, d] unit.
    """

    texts: list[str]
    codes: Codes
    split: np.ndarray
    document: np.ndarray
    embeddings: Floats

    def trial(self, latent: int, split: str, seed: int) -> Trial | None:
        """Windows of a split in which the latent fires, and near ones in which it does not."""
        rows = np.flatnonzero(self.split == SPLITS.index(split))
        found = trial_of(
            self.codes.column(latent)[rows], self.embeddings[rows], self.document[rows], np.zeros(0, np.int64),
            seed=seed,
        )  # fmt: skip
        return None if found is None else Trial(rows[found.windows], found.fires, found.documents)


def label_text_latents(work: Work, encoders: EncoderCache, labeller: Callable[[], Labeller | None]) -> None:
    """Name every latent that fires often enough, and judge the names.

    Raises
    ------
    LabellerUnavailable : a language model was asked for and does not answer.
    """
    request = AtlasRequest.model_validate(work.spec["request"])
    encode = encoders.get(str(work.spec["encoder"])).encode_texts
    corpus, arrays = load_corpus(work.path("corpus")), load_arrays(work.path("codes"))
    embeddings = np.concatenate([rows for _, rows in embeddings_of(work).blocks()])
    texts = [one.text for one in corpus.passages(arrays["window"].tolist())]
    world = Judged(texts, Codes.load(work.path("codes")), arrays["split"], arrays["document"], embeddings)
    names = _vocabulary(request, [text for text, split in zip(texts, world.split, strict=True) if split == 0])
    words = encode(names)
    candidates = _candidates(work, world, corpus, names, words, request.seed)
    if request.labeller:
        names, words = _phrased(work, corpus, candidates, labeller(), names, words, encode)
    m = len(candidates)
    chosen: list[TermLabel | None] = []
    for latent in range(m):
        chosen.append(_best(world, latent, candidates[latent], words, names, request.seed))
        work.advance(1)
    trials = [world.trial(latent, "test", request.seed) if chosen[latent] else None for latent in range(m)]
    own, shuffled = judge_labels(
        trials, lambda latent, windows: _scores(world, chosen[latent], windows, words, names),
        [one is not None for one in chosen], seed=request.seed,
    )  # fmt: skip
    _emit(work, chosen, own, shuffled, encode)


def _vocabulary(request: AtlasRequest, training: Sequence[str]) -> list[str]:
    if request.vocabulary == "list":
        return [*vocabulary_of(request.names or []).names]
    if request.vocabulary in ("imagenet-1k", "imagenet-22k"):
        return [*imagenet(request.vocabulary).names]
    windows = Counter(word for text in training for word in set(words_of(text)) if len(word) > 3)
    common = {word for word, count in windows.items() if count > 0.1 * len(training)}
    kept = [word for word, _ in sorted(windows.items(), key=lambda one: (-one[1], one[0])) if word not in common]
    return kept[:WORDS] or sorted(windows)[:WORDS] or ["text"]


def _candidates(
    work: Work, world: Judged, corpus: Corpus, names: list[str], words: Floats, seed: int
) -> list[list[TermLabel]]:
    """Up to four labels a latent: token rule, contrast terms, output terms, nearest name."""
    features, lexicon = load_arrays(work.path("features")), work.record("lexicon")
    training = np.flatnonzero(world.split == SPLITS.index("train"))
    place = {int(window): row for row, window in enumerate(load_arrays(work.path("codes"), ["window"])["window"])}
    draw = np.random.default_rng(seed)
    background = [world.texts[row] for row in draw.permutation(training)[:BACKGROUND]]
    base = world.embeddings[training].mean(axis=0, dtype=np.float64)
    tokens, raises = list(lexicon["tokens"]), list(lexicon["raises"])  # type: ignore[arg-type]
    found: list[list[TermLabel]] = []
    for latent in range(len(features["density"])):
        kept = features["top_window"][latent] >= 0
        if kept.sum() < FEWEST:
            found.append([])
            continue
        windows = features["top_window"][latent][kept].tolist()
        starts, stops = features["top_start"][latent][kept], features["top_stop"][latent][kept]
        near = [
            one.text[max(0, start - AROUND) : stop + AROUND]
            for one, start, stop in zip(corpus.passages(windows), starts.tolist(), stops.tolist(), strict=True)
        ]
        rows = [place[int(window)] for window in windows]
        direction = world.embeddings[rows].mean(axis=0, dtype=np.float64) - base
        nearest = names[int((words @ direction).argmax())]
        mass = {str(token): float(share) for token, share in tokens[latent]}  # type: ignore[union-attr, misc]
        options = [
            token_label(mass), contrast_label(near, background), output_label([str(one) for one in raises[latent]]),  # type: ignore[union-attr]
            TermLabel(nearest, "concept", {nearest: 1.0}),
        ]  # fmt: skip
        found.append([one for one in options if one is not None])
    return found


def _phrased(
    work: Work, corpus: Corpus, candidates: list[list[TermLabel]], labeller: Labeller | None, names: list[str],
    words: Floats, encode: Callable[[Sequence[str]], Floats],
) -> tuple[list[str], Floats]:  # fmt: skip
    """Add the phrase of a language model to each latent's candidates; the names grow by the phrases."""
    if labeller is None:
        raise LabellerUnavailable("no language model is set up to phrase labels", field="labeller")
    features = load_arrays(work.path("features"))
    said: dict[str, None] = {}
    for latent, options in enumerate(candidates):
        if not options:
            continue
        rows = zip(*(features[f"top_{name}"][latent].tolist() for name in ("window", "start", "stop")), strict=True)
        passages = []
        for window, start, stop in rows:
            if window >= 0:
                text = corpus.passage(int(window)).text
                before, after = text[max(0, start - AROUND) : start], text[stop : stop + AROUND]
                passages.append(f"{before}<<{text[start:stop]}>>{after}")
        phrase = labeller.phrase(passages)
        if phrase is not None:
            options.append(TermLabel(phrase, "phrase", {phrase: 1.0}))
            said.setdefault(phrase)
        work.advance(0)
    fresh = [phrase for phrase in said if phrase not in set(names)]
    return ([*names, *fresh], np.concatenate([words, encode(fresh)])) if fresh else (names, words)


def _best(
    world: Judged, latent: int, candidates: list[TermLabel], words: Floats, names: list[str], seed: int
) -> TermLabel | None:
    """The candidate that tells validation windows apart best; of equal ones the earlier. None without evidence."""
    trial = world.trial(latent, "validation", seed) if candidates else None
    if trial is None:
        return None
    reached = [
        float(auroc(_scores(world, one, trial.windows, words, names)[:, None], trial.fires[:, None])[0])
        for one in candidates
    ]
    return candidates[int(np.argmax(reached))]


def _scores(world: Judged, label: TermLabel | None, windows: np.ndarray, words: Floats, names: list[str]) -> Floats:
    """How well windows fit a label, by its own matcher: cosine for names, terms for all others."""
    if label is None:
        return np.zeros(len(windows))
    if label.method in ("concept", "phrase"):
        scores: Floats = world.embeddings[windows] @ words[names.index(label.text)]
        return scores
    return np.array([label.score(world.texts[row]) for row in windows], np.float64)


def _emit(
    work: Work, chosen: list[TermLabel | None], own: list[Detection | None], shuffled: list[Detection | None],
    encode: object,
) -> None:  # fmt: skip
    m = len(chosen)
    index = np.where([one is not None for one in chosen], np.arange(m), -1)
    figures = {
        name: np.array([getattr(one, name) if one else np.nan for one in own])
        for name in ("auroc", "low", "high", "precision")
    }
    tier = np.array([TIERS.index(one.tier) if one else 3 for one in own], np.int8)
    meant = [" ".join(one.terms) if one else "" for one in chosen]
    vectors = np.where((index >= 0)[:, None], encode([text or "nothing" for text in meant]), 0).astype(np.float32)  # type: ignore[operator]
    density = load_arrays(work.path("features"), ["density"])["density"]
    margin = np.zeros(m)
    work.emit_arrays(
        "labels",
        {"index": index, "margin": margin, "tier": tier, "vectors": vectors, "density": density, **figures},
    )
    texts = [one.text if one else "" for one in chosen]
    methods = [one.method if one else "" for one in chosen]
    terms = [dict(one.terms) if one else {} for one in chosen]
    told = {"names": texts, "methods": methods, "terms": terms}
    work.emit_record("names", {**told, "sha256": sha256_of(told)})
    control = np.array([one.auroc if one else np.nan for one in shuffled])
    counts = Counter(TIERS[at] for at in tier)
    work.emit_record(
        "summary",
        {
            "tiers": {name: counts[name] for name in TIERS}, "latents": m,
            "methods": dict(Counter(one for one in methods if one)),
            "auroc": float(np.nanmedian(figures["auroc"])) if np.isfinite(figures["auroc"]).any() else None,
            "shuffled": float(np.nanmean(control)) if np.isfinite(control).any() else None,
        },
    )  # fmt: skip


__all__ = ["Judged", "detect", "text_label_stages"]
