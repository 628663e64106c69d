"""The matches stage: two representations concept by concept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, cast

from contracts.alignment import ConceptMatch, FlowEdge
from services.explanation.alignments.inputs import seeds_of, usable
from services.explanation.concepts.distances import concept_distances
from services.explanation.concepts.flow import flow_edges
from services.explanation.concepts.matching import match_concepts, matched_null, partners, too_rare
from services.kit.stages import Work


def match_pair(work: Work) -> None:
    """Match the concepts of the typical seeds of two representations, and follow points from one to the other."""
    spec = cast(dict[str, Any], work.spec)
    places = int(spec["ours"]), int(spec["theirs"])
    sides = [seeds_of(work, place, int(spec["seeds"])) for place in places]
    record: dict[str, Any] = {"ours": places[0], "theirs": places[1], "matches": [], "flow": []}
    if all(usable(side) for side in sides):
        typical = [int(cast(int, work.record(f"profiles/{place}")["typical"])) for place in places]
        ours, theirs = (side[seed].values for side, seed in zip(sides, typical, strict=True))
        null = matched_null(ours, theirs, permutations=int(spec["permutations"]))
        distances = concept_distances(ours, theirs)
        found = match_concepts(distances, null, rare_ours=too_rare(ours), rare_theirs=too_rare(theirs))
        split = partners(ours, theirs, distances.kappa).divided
        merged = partners(theirs, ours, distances.kappa.T).divided
        record["matches"] = [
            ConceptMatch(
                ours=match.ours, theirs=match.theirs, relation=match.relation, kappa=match.kappa,
                size_free_distance=match.dt, distance=match.d, q=match.q,
                divided=(match.ours is not None and bool(split[match.ours]))
                or (match.theirs is not None and bool(merged[match.theirs])),
            ).model_dump(mode="json")
            for match in found
        ]  # fmt: skip
        record["flow"] = [FlowEdge(**asdict(edge)).model_dump(mode="json") for edge in flow_edges(ours, theirs)]
    work.emit_record("pair", record)
    work.advance(1)
