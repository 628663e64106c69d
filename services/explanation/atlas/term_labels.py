"""Labels of text latents without a language model: tokens, contrast terms, output terms."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from services.explanation.atlas.statistics import Doubles, Floats

MASS, SHORTEST_AFFIX = 0.6, 3
TERMS, LEAST_Z = 5, 3.0
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
Method = Literal["token", "prefix", "suffix", "terms", "output", "concept", "phrase"]


@dataclass(frozen=True)
class TermLabel:
    """A label and its matcher. text : as shown. method : how it was made. terms : term -> weight of the matcher."""

    text: str
    method: Method
    terms: Mapping[str, float]

    def score(self, text: str) -> float:
        """How well a window fits: share of matching words for rules, Σ weights of the terms found for the others."""
        words = words_of(text)
        if self.method in ("prefix", "suffix"):
            (affix,) = self.terms
            fits = str.startswith if self.method == "prefix" else str.endswith
            return float(sum(fits(word, affix) for word in words))
        found = Counter(words)
        if self.method == "token":
            (token,) = self.terms
            return float(found[token]) if WORD.fullmatch(token) else float(text.casefold().count(token))
        return float(sum(weight for term, weight in self.terms.items() if found[term]))


def words_of(text: str) -> list[str]:
    """Words of a text, folded to lower case."""
    return [word.casefold() for word in WORD.findall(text)]


def folded(token: str) -> str:
    """A token without surrounding white space and case: `▁The`, ` the` and `THE` are one."""
    return token.replace("▁", " ").replace("Ġ", " ").strip().casefold()


def token_label(mass: Mapping[str, float]) -> TermLabel | None:
    """A rule, if at least 60 % of a latent's activation mass lies on one token, or on one beginning or ending.

    Parameters
    ----------
    mass : token text -> summed activation. Case and surrounding space are folded first.

    Returns
    -------
    `token "x"`, `words starting with x` or `words ending with x`, affixes of at least three letters; None otherwise.
    """
    pooled: dict[str, float] = defaultdict(float)
    for token, value in mass.items():
        if folded(token):
            pooled[folded(token)] += value
    total = sum(pooled.values())
    if total <= 0:
        return None
    best = max(sorted(pooled), key=lambda token: pooled[token])
    if pooled[best] >= MASS * total:
        return TermLabel(f'token "{best}"', "token", {best: 1.0})
    words = {token: value for token, value in pooled.items() if WORD.fullmatch(token)}
    options: list[tuple[int, float, Method, str]] = []
    for method in ("prefix", "suffix"):
        affix = _longest_affix(words, MASS * total, at_end=method == "suffix")
        if affix is not None:
            options.append((len(affix[0]), affix[1], method, affix[0]))
    if not options:
        return None
    _, _, method, affix_text = max(options)
    where = "starting" if method == "prefix" else "ending"
    return TermLabel(f"words {where} with {affix_text}", method, {affix_text: 1.0})


def _longest_affix(words: Mapping[str, float], least: float, *, at_end: bool) -> tuple[str, float] | None:
    """The longest beginning (or ending) of at least two words that carries `least` of the mass."""
    for length in range(max(map(len, words), default=0), SHORTEST_AFFIX - 1, -1):
        pooled: dict[str, float] = defaultdict(float)
        count: Counter[str] = Counter()
        for word, value in words.items():
            if len(word) >= length:
                affix = word[-length:] if at_end else word[:length]
                pooled[affix] += value
                count[affix] += 1
        for affix in sorted(pooled, key=lambda one: -pooled[one]):
            if pooled[affix] >= least and count[affix] > 1:
                return affix, pooled[affix]
    return None


def log_odds(
    y: Floats, n: float, other: Floats, n_other: float, *, prior: Floats, total_prior: float | None = None
) -> tuple[Doubles, Doubles]:
    """Weighted log-odds with a Dirichlet prior: how much more a word is used in one text than in another.

    Parameters
    ----------
    y, other : [V] counts in the two texts; n, n_other : their lengths. prior : [V] α; total_prior : α₀, default Σα.

    Returns
    -------
    δ [V] and z [V] = δ / √(1/(y+α) + 1/(y'+α)), float64.

    Source: Monroe, Colaresi, Quinn (2008), "Fightin' Words".
    """
    a = np.asarray(prior, np.float64)
    whole = float(a.sum()) if total_prior is None else total_prior
    one, two = np.asarray(y, np.float64) + a, np.asarray(other, np.float64) + a
    delta = np.log(one / (n + whole - one)) - np.log(two / (n_other + whole - two))
    return delta, delta / np.sqrt(1 / one + 1 / two)


def contrast_label(
    active: Iterable[str], background: Iterable[str], *, terms: int = TERMS, least: float = LEAST_Z
) -> TermLabel | None:
    """The words most over-used around a latent's peaks against density-matched windows; None where no z exceeds 3.

    Parameters
    ----------
    active : texts within ten tokens of the peaks. background : texts of windows matched in density.
    """
    one, two = (Counter(word for text in side for word in words_of(text)) for side in (active, background))
    vocabulary = sorted(set(one) | set(two))
    if not vocabulary:
        return None
    counts = [np.array([side[word] for word in vocabulary], np.float64) for side in (one, two)]
    pooled = counts[0] + counts[1]
    prior = 10 * pooled / pooled.sum() + 0.01
    _, z = log_odds(counts[0], counts[0].sum(), counts[1], counts[1].sum(), prior=prior)
    order = [at for at in np.argsort(-z, kind="stable")[:terms] if z[at] > least]
    if not order:
        return None
    weights = {vocabulary[at]: float(z[at]) for at in order}
    return TermLabel(", ".join(weights), "terms", weights)


def output_terms(
    directions: Floats, unembedding: Floats, tokens: Sequence[str], *, norm: Floats | None = None, k: int = 20
) -> list[tuple[list[str], list[str]]]:
    """Tokens that each decoder direction raises and lowers most: (top k, bottom k) a latent.

    Parameters
    ----------
    directions : [m, d] decoder rows. unembedding : [V, d]. tokens : [V] texts. norm : [d] gain of the final norm.

    Source: logit lens (nostalgebraist 2020): W_U · (gain ⊙ W_dec), the norm's scale left out as it changes no order.
    """
    found = []
    for start in range(0, len(directions), 64):
        rows = directions[start : start + 64] * (1 if norm is None else norm)
        for logits in rows.astype(np.float32) @ unembedding.T.astype(np.float32):
            order = np.argsort(-logits, kind="stable")
            found.append(([tokens[at] for at in order[:k]], [tokens[at] for at in order[::-1][:k]]))
    return found


def output_label(top: Sequence[str], *, terms: int = TERMS) -> TermLabel | None:
    """The first distinct words among a latent's output terms, weighted by rank; None without words."""
    words = list(dict.fromkeys(folded(token) for token in top if WORD.fullmatch(folded(token))))[:terms]
    return (
        TermLabel(", ".join(words), "output", {word: 1 / (at + 1) for at, word in enumerate(words)}) if words else None
    )
