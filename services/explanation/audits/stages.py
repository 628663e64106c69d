"""Offline work of audits: the tests of components against concepts, and the verdicts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from contracts.errors import EncoderMismatch
from contracts.snapshots import Encoder
from services.explanation.audits.alignment import Calibrator, align, of_components, significances, strongest
from services.explanation.audits.publish import publish_audit_part
from services.explanation.audits.verdicts import discoveries_needed
from services.explanation.audits.words import related
from services.explanation.encoders.arrays import unit_rows
from services.explanation.encoders.port import EncoderPort
from services.explanation.encoders.registry import EncoderCache
from services.explanation.semantics.queries import (
    TEMPLATES,
    background_names,
    remembering,
    template_nulls,
    text_directions,
)
from services.kit.stages import StageFunction, Work

BACKGROUND = 1000


def audit_stages(encoders: EncoderCache) -> tuple[StageFunction, ...]:
    """The stages of audits that this service runs; pictures and relevance come from the model service."""
    return (
        StageFunction("audit-concepts", 1, lambda work: align_concepts(work, encoders)),
        StageFunction("audit-readouts", 1, lambda work: find_readouts(work, encoders)),
        StageFunction("audit", 1, publish_audit_part),
    )


def align_concepts(work: Work, encoders: EncoderCache) -> None:
    """Test every component of all layers against every concept, as one family."""
    spec = cast(dict[str, Any], work.spec)
    nulls = work.arrays("nulls")
    names = list(spec["background"]) or background_names(BACKGROUND)
    concepts, background = _directions(spec, nulls, encoders, names)
    calibrator = Calibrator(nulls[f"bank/{int(nulls['sizes'][-1])}"], background)
    vectors = {name: work.arrays(f"vectors/{name}") for name in spec["layers"]}
    aligned = []
    for name in spec["layers"]:
        aligned.append(align(vectors[name]["row_vectors"], concepts, calibrator))
        work.advance(0)
    found = significances(aligned, related(spec["concepts"], names))
    for name, layer, p, q in zip(spec["layers"], aligned, found.p, found.q, strict=True):
        owners = vectors[name]["row_component"].astype(np.int64)
        best = strongest(layer.z, owners, len(vectors[name]["state"]))
        arrays = {"alignment": layer.alignment, "z": layer.z, "p": p, "q": q}
        work.emit_arrays(
            f"tests/{name}", {role: of_components(values, best) for role, values in arrays.items()}, {"layer": name}
        )
    needed = discoveries_needed(found.smallest_p, found.tests, float(spec["fdr"]))
    work.emit_record(
        "calibration",
        {
            "tests": found.tests, "background": len(background), "pool": found.pool,
            "smallest_p": found.smallest_p, "resolution_limited": needed > 1, "needed": needed,
        },
    )  # fmt: skip
    work.advance(1)


def find_readouts(work: Work, encoders: EncoderCache) -> None:
    """Put out `directions` [R, d] float32: each text's mean over the templates, of unit length, as in zero-shot labels.

    Source: CLIP (Radford et al. 2021, arXiv 2103.00020), section 3.1.4. Nothing is taken off: cosines are explained.
    """
    spec = cast(dict[str, Any], work.spec)
    port = _encoder(spec, encoders)
    means = np.stack(
        [port.encode_texts([template.format(text) for template in spec["templates"]]).mean(0) for text in spec["texts"]]
    )
    work.emit_arrays("directions", {"directions": unit_rows(means.astype(np.float32))}, {"texts": spec["texts"]})
    work.advance(1)


def _encoder(spec: dict[str, Any], encoders: EncoderCache) -> EncoderPort:
    encoder = Encoder.model_validate(spec["encoder"])
    port = encoders.get(encoder.name)
    if port.fingerprint != encoder.fingerprint:
        raise EncoderMismatch(f"{encoder.name} here is not the one that the snapshot was built with", field="snapshot")
    return port


def _directions(
    spec: dict[str, Any], nulls: dict[str, np.ndarray], encoders: EncoderCache, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Directions of concepts [Q, d] and of the background [B, d], through the same templates and null."""
    port = _encoder(spec, encoders)
    templates = tuple(spec["templates"])
    encode = remembering(port.encode_texts)
    usual = templates == TEMPLATES and "template_nulls" in nulls
    null = nulls["template_nulls"] if usual else _nulls(port, encode, templates)
    if usual and not spec["background"] and len(nulls["text/directions"]) == len(names):
        background = nulls["text/directions"]
    else:
        background = text_directions(encode, names, templates=templates, nulls=null)
    return text_directions(encode, spec["concepts"], templates=templates, nulls=null), background


def _nulls(port: EncoderPort, encode: Any, templates: tuple[str, ...]) -> np.ndarray:
    names = background_names(BACKGROUND) if port.null == "centroid" else []
    return template_nulls(encode, templates, null=port.null, background=names)
