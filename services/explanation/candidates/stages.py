"""The stages of candidates: a model proposes names for 64 components, and a layer's vocabulary takes them in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from contracts.labels import CandidateRequest, LabelRequest, VisionModelUnavailable
from contracts.snapshots import Encoder
from services.explanation.candidates.grids import SHOWN, grid_of, hash_of
from services.explanation.candidates.port import VisionModel
from services.explanation.candidates.registry import VisionModels
from services.explanation.candidates.wording import concepts_in, prompt_for
from services.explanation.encoders.registry import EncoderCache
from services.explanation.label_inputs import columns_of, evidence_in
from services.explanation.label_stages import vectors_of_names
from services.explanation.labels.scorers import Probe
from services.explanation.labels.splits import split_by_group
from services.explanation.measure import embeddings_of
from services.explanation.partials import group_numbers
from services.kit.arrays import load_arrays
from services.kit.keys import sha256_of
from services.kit.pictures import Manifest
from services.kit.stages import StageFunction, Work

COMPONENTS = 64  # of one part, as many as a block of columns holds
KEPT = 400  # characters of an answer, for people who wonder where a name came from
Ints = NDArray[np.int64]


def candidate_stages(vision: VisionModels, encoders: EncoderCache) -> tuple[StageFunction, ...]:
    """Both stages, bound to the settings' model and to the encoders."""
    return (
        StageFunction("candidates", 1, lambda work: propose(work, vision)),
        StageFunction("candidate-names", 1, lambda work: unite(work, encoders)),
    )


def propose(work: Work, vision: VisionModels) -> None:
    """Ask for candidate names of up to 64 components, by grids of probing pictures alone.

    Raises
    ------
    VisionModelUnavailable : no answer, or it is not the model for which the job was planned.
    """
    request = LabelRequest.model_validate(work.spec["request"])
    plan, layer = cast(CandidateRequest, request.candidates), cast(dict[str, object], work.spec["layer"])
    model = _planned(vision, cast(dict[str, str], work.spec["model"]))
    first, stop = (int(cast(int, work.spec[name])) for name in ("start", "stop"))
    manifest = Manifest.load(work.path("manifest"), work.blobs)
    prompt, told = prompt_for(plan.grid, plan.names), list[dict[str, object]]()
    for row, samples in _shown(work, request, slice(first, stop), signed=bool(layer["signed"])):
        grids = [grid_of([_picture(manifest, one) for one in some], plan.canvas) for some in samples]
        answer = model.answer(prompt, grids)
        told.append(
            {
                "row": first + row, "samples": [some.tolist() for some in samples],
                "grids": [hash_of(grid) for grid in grids], "answer": answer[:KEPT],
                "names": concepts_in(answer, plan.names),
            }
        )  # fmt: skip
        work.advance(0)
    work.emit_record("candidates", {"prompt": prompt, "components": told})
    work.advance(stop - first)


def _planned(vision: VisionModels, planned: dict[str, str]) -> VisionModel:
    """Return the settings' model, if it still is the one that is part of the artifact's key."""
    model = vision.require()
    if model.fingerprint != planned["fingerprint"]:
        raise VisionModelUnavailable(
            f"the job was planned for {planned['model']}, the settings name another model or its files changed; "
            "send the request again",
            field="candidates", model=model.name,
        )  # fmt: skip
    return model


def _picture(manifest: Manifest, sample: int) -> Image.Image:
    return manifest.picture(int(sample))


def _shown(work: Work, request: LabelRequest, rows: slice, *, signed: bool) -> Iterator[tuple[int, list[Ints]]]:
    """Which samples each component's grids show: row within `rows`, then positives and, if asked, negatives.

    Positives are the nine most active probing samples that are evidence; negatives the nearest probing sample to each
    of them below the component's mean activation. Components without evidence or contrast are left out.
    """
    table, state = work.arrays("examples"), load_arrays(work.path("vectors"), ["state"])["state"]
    activations = columns_of(work, table, rows)
    split = split_by_group(group_numbers(work, len(activations)), seed=request.seed)
    valid = evidence_in(activations, split, state[rows], signed=signed)
    embeddings = np.concatenate([block for _, block in embeddings_of(work).blocks()])
    names = np.zeros((0, embeddings.shape[1]), np.float32)  # nothing is scored here
    probe = Probe(embeddings[split.probe], activations[split.probe], valid, SHOWN, names, names, seed=request.seed)
    contrastive = cast(CandidateRequest, request.candidates).grid == "contrastive"
    sides = [probe.positives, probe.negatives()] if contrastive else [probe.positives]
    work.advance(0)
    for row in range(len(valid)):
        samples = [split.probe[side[row][side[row] >= 0]] for side in sides]
        if all(len(some) for some in samples):
            yield row, samples


def unite(work: Work, encoders: EncoderCache) -> None:
    """Add a layer's candidates to the vocabulary and embed those that are new, so that scorers rank both alike.

    A candidate that differs from a name only in case stays that name.
    """
    request = LabelRequest.model_validate(work.spec["request"])
    names, texts = work.record("names"), work.arrays("texts")
    known = [str(name) for name in cast(list[str], names["names"])]
    roles = sorted(role for role in work.inputs if role.startswith("candidates/"))
    told = [one for role in roles for one in cast(list[dict[str, list[str]]], work.record(role)["components"])]
    taken = {name.casefold() for name in known}
    added = dict[str, str]()
    for name in (name for one in told for name in one["names"]):
        if name.casefold() not in taken:
            added.setdefault(name.casefold(), name)
    if added:
        port = encoders.get(Encoder.model_validate(work.spec["encoder"]).name)
        templates = [str(template) for template in cast(list[str], work.spec["templates"])]
        new = vectors_of_names(port, list(added.values()), request, templates, work)
        texts = {role: np.concatenate([rows, new[role]]) for role, rows in texts.items()}
    united = known + list(added.values())
    work.emit_arrays("texts", texts, {"names": len(united)})
    work.emit_record(
        "names",
        {
            "source": names["source"], "names": united, "sha256": sha256_of(list(united)), "vocabulary": len(known),
            "asked": len(told), "unanswered": sum(not one["names"] for one in told), "added": len(added),
            "proposed": {str(one["row"]): one["names"] for one in told},
        },
    )  # fmt: skip
    work.advance(1)
