"""Query directions: texts through templates minus their null, pictures, components, and weighted mixes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.errors import BadTemplate, EmptyPrompt
from services.explanation.semantics.embeddings import unit_rows

Floats = NDArray[np.float32]
TEMPLATES = ("{}", "a photo of a {}", "an image of a {}", "a closeup of a {}")
SMALLEST = 1e-6
BACKGROUND_SEED = 0


def remembering(encode: Callable[[Sequence[str]], Floats]) -> Callable[[Sequence[str]], Floats]:
    """Wrap an encoder's text side so that no text is embedded twice while the wrapper lives."""
    known: dict[str, Floats] = {}

    def remembered(texts: Sequence[str]) -> Floats:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in texts])

    return remembered


def require_templates(templates: Sequence[str]) -> None:
    """Refuse a template without exactly one `{}`."""
    for template in templates:
        if template.count("{}") != 1:
            raise BadTemplate(f"{template!r} holds {{}} {template.count('{}')} times", field="templates")


def fill(template: str, text: str) -> str:
    """Put a text into a template by plain replacement, with white space collapsed."""
    return " ".join(template.replace("{}", text).split())


def template_nulls(
    encode: Callable[[Sequence[str]], Floats], templates: Sequence[str], *, null: str, background: Sequence[str]
) -> Floats:
    """What each template contributes whatever is put into it.

    Parameters
    ----------
    encode : texts -> [B, d] float32 unit rows.
    null : `template`: ν_t = û(t("")); `centroid`: ν_t = mean of û(t(b)) over the background names b, for sentence
        encoders, to which an empty sentence means nothing in particular; `none`: 0.

    Returns
    -------
    [T, d] float32.

    Source: SemanticLens (arXiv 2501.05398) subtracts the embedding of the empty prompt; the centroid is ours.
    """
    require_templates(templates)
    if null == "template":
        return encode([fill(template, "") for template in templates])
    if null == "centroid":
        filled = ([fill(template, name) for name in background] for template in templates)
        return np.stack([encode(texts).mean(axis=0, dtype=np.float64) for texts in filled]).astype(np.float32)
    return np.zeros((len(templates), encode(["x"]).shape[1]), np.float32)


def text_directions(
    encode: Callable[[Sequence[str]], Floats], texts: Sequence[str], *, templates: Sequence[str], nulls: Floats
) -> Floats:
    """Unit directions of texts.

    q = normalize(mean over templates t of [û(t(p)) - ν_t]) with û the unit text embedding.

    Parameters
    ----------
    encode : texts -> [B, d] float32 unit rows; templates : each with one `{}`; nulls : [T, d] of `template_nulls`.

    Returns
    -------
    [Q, d] float32 unit rows; row q belongs to texts[q]. Q texts at once equal Q single calls.

    Raises
    ------
    BadTemplate; EmptyPrompt : a direction vanishes when its null is subtracted.

    Source: SemanticLens (arXiv 2501.05398); unit norms before the subtraction and after averaging are ours.
    """
    require_templates(templates)
    filled = [fill(template, text) for text in texts for template in templates]
    embedded = encode(filled).reshape(len(texts), len(templates), -1)  # [Q, T, d]
    mean = (embedded - nulls).mean(axis=1, dtype=np.float64)
    _require_direction(mean, texts)
    return unit_rows(mean)


def mixed_direction(directions: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Unit direction of a weighted mix; negative weights lead away.

    Parameters
    ----------
    directions : unit vectors [d]; weights : one each, finite. Only their proportions matter.

    Returns
    -------
    [d] float32.

    Raises
    ------
    EmptyPrompt : the terms cancel out, or all weights are 0.
    """
    largest = max((abs(weight) for weight in weights), default=0.0) or 1.0
    shares = [float(weight) / largest for weight in weights]  # whatever their size, squares do not overflow
    mean = sum(
        (np.float64(share) * direction for share, direction in zip(shares, directions, strict=True)), np.zeros(1)
    )
    _require_direction(mean[None], ["the terms"])
    return unit_rows(mean[None])[0]


def _require_direction(mean: NDArray[np.float64], names: Sequence[str]) -> None:
    lengths = np.linalg.norm(mean, axis=-1)
    if (lengths < SMALLEST).any():
        empty = names[int(np.argmin(lengths))]
        raise EmptyPrompt(f"{empty!r} has no direction of its own", field="terms")


def background_names(count: int, seed: int = BACKGROUND_SEED) -> list[str]:
    """Names of unrelated things: `count` of the 21,841 ImageNet-22k names, first synonym, drawn with a fixed seed."""
    from services.kit.torchvision_ops import mend_torchvision

    mend_torchvision()
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-22k")
    names = sorted({info.index_to_description(place).split(",")[0].strip() for place in range(info.num_classes())})
    chosen = np.random.default_rng(seed).permutation(len(names))[:count]
    return [names[place] for place in sorted(chosen)]
