"""What a user can ask about models, and the cache of loaded ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contracts.attribution import (
    AttributionAnswer,
    AttributionMethod,
    AttributionRequest,
    ComponentGraph,
    ComponentRelevance,
    ComponentRequest,
    GraphRequest,
    Plays,
    PlaysRequest,
)
from contracts.base import Arrays, Caller, Page
from contracts.crops import ComponentCrops, CropRequest
from contracts.data import DataService
from contracts.errors import UnknownModel
from contracts.language import Generation, GenerationRequest, GenerationState, TokenQuery
from contracts.model import Model, ModelCost, ModelRef, Precision
from contracts.steering import SteeringPreview, SteeringRequest
from services.kit.blobs import Blobs
from services.kit.db import Database
from services.kit.named import newest_first
from services.kit.settings import Settings
from services.model.adapters.port import Built
from services.model.recent import Budgeted, Recent
from services.model.repository import find_model
from services.model.rows import ModelRow
from services.model.writings import Writings

BUDGET = 2 << 30
BASELINES = 64 << 20  # bytes of unsteered predictions and their heat maps


@dataclass
class Held:
    """A loaded model, how large it is and how many use it."""

    lock: threading.Lock
    built: Built | None = None
    size: int = 0
    users: int = 0


class Models:
    """Implements `contracts.model.ModelService`."""

    def __init__(
        self, database: Database, blobs: Blobs, settings: Settings, *, budget: int = BUDGET,
        data: DataService | None = None,
    ) -> None:  # fmt: skip
        self.data = data
        self.attributed = Recent()
        self.baselines: Budgeted[Any] = Budgeted(BASELINES, lambda kept: int(kept.nbytes))
        self.norms: Recent[float] = Recent(512)
        self.differences: Recent[Any] = Recent(64)
        self.cropped: Recent[ComponentCrops] = Recent(256)
        self.writings = Writings()
        self.database, self.blobs, self.settings, self.budget = database, blobs, settings, budget
        self._held: OrderedDict[tuple[str, str, bool], Held] = OrderedDict()
        self._lock = threading.Lock()

    def models(self, caller: Caller, limit: int = 50, cursor: str | None = None) -> Page[Model]:
        """List the models of the workspace, newest first."""
        with self.database.reading() as db:
            rows, more = newest_first(db, ModelRow, caller.workspace, limit, cursor)
        return Page[Model](items=[Model.model_validate(row.record) for row in rows], next=more)

    def model(self, caller: Caller, model: str) -> Model:
        """Show one model with its layer catalogue."""
        with self.database.reading() as db:
            found = find_model(db, caller.workspace, model)
        if found is None:
            raise UnknownModel(f"there is no model {model}", field="model")
        return found

    def model_cost(self, caller: Caller, model: str, against: str | None = None) -> ModelCost:
        """Measure what a model costs to keep and to run, beside another one."""
        from services.model.costs import cost_of

        return cost_of(self, caller, model, against)

    def attribution_methods(self, caller: Caller) -> Page[AttributionMethod]:
        """List the ways to attribute a score: every composite of rules, and the baselines."""
        from services.model.attributions import described_methods

        return Page[AttributionMethod](items=described_methods())

    def attribute(self, caller: Caller, model: str, query: AttributionRequest) -> AttributionAnswer:
        """Attribute one score of one picture by several methods, with their quality side by side."""
        from services.model.attributions import answer_of

        return answer_of(self, caller, model, query)

    def attribution_maps(self, caller: Caller, model: str, query: AttributionRequest) -> Arrays:
        """Deliver the signed maps of the same request, one array a method."""
        from services.model.attributions import maps_of

        return maps_of(self, caller, model, query)

    def component_graph(self, caller: Caller, model: str, query: GraphRequest) -> ComponentGraph:
        """Show which components one score rests on, and what flows between them."""
        from services.model.component_graph import answer_of

        return answer_of(self, caller, model, query)

    def plays(self, caller: Caller, model: str, query: PlaysRequest) -> Plays:
        """Sample some plays of the game that a rule is."""
        from services.model.plays import answer_of

        return answer_of(self, caller, model, query)

    def component_relevance(self, caller: Caller, model: str, query: ComponentRequest) -> ComponentRelevance:
        """Relevance of a layer's components over some samples, checked by ablating them."""
        from services.model.component_relevance import answer_of

        return answer_of(self, caller, model, query)

    def component_arrays(self, caller: Caller, model: str, query: ComponentRequest) -> Arrays:
        """Deliver the same as arrays."""
        from services.model.component_relevance import arrays_of

        return arrays_of(self, caller, model, query)

    def steering_preview(self, caller: Caller, model: str, query: SteeringRequest) -> SteeringPreview:
        """Compare one prediction without and with interventions on the model's activations."""
        from services.model.steering import preview_of

        return preview_of(self, caller, model, query)

    def component_crops(self, caller: Caller, model: str, query: CropRequest) -> ComponentCrops:
        """Cut samples to what a component saw, by its own activation map."""
        from services.model.component_crops import answer_of

        return answer_of(self, caller, model, query)

    def token_activations(self, caller: Caller, model: str, query: TokenQuery) -> Arrays:
        """Deliver a layer's activations on a text, token by token."""
        from services.model import languages

        return languages.activations_of(self, caller, model, query)

    def generate(self, caller: Caller, model: str, query: GenerationRequest) -> Generation:
        """Continue a prompt, and answer when all of it is written."""
        from services.model import languages

        return languages.answer_of(self, caller, model, query)

    def open_generation(self, caller: Caller, model: str, query: GenerationRequest) -> GenerationState:
        """Begin to write, and answer at once."""
        from services.model import languages

        return languages.opened(self, caller, model, query)

    def generation(self, caller: Caller, generation: str, after: int = -1) -> GenerationState:
        """Read a text while it is written."""
        from services.model import languages

        return languages.state_of(self, caller, generation, after)

    def close_generation(self, caller: Caller, generation: str) -> GenerationState:
        """Stop before the next token, free the memory, and forget the text."""
        from services.model import languages

        return languages.closed(self, caller, generation)

    @contextmanager
    def loaded(self, ref: ModelRef, precision: Precision = Precision.FP32, *, folded: bool = False) -> Iterator[Built]:
        """Lend a model in eval mode; it is loaded once, and never evicted while it is lent.

        `folded`: with batch normalisations folded into convolutions, for passes that only read activations.
        """
        import torch

        key = (ref.model_sha256, precision.value, folded)
        with self._lock:
            held = self._held.setdefault(key, Held(threading.Lock()))
            self._held.move_to_end(key)
            held.users += 1
        try:
            with held.lock:  # single flight: who comes second waits for the first
                if held.built is None:
                    with torch.inference_mode(mode=False):  # who loads it may only read; the next may differentiate
                        held.built = self._load(ref, precision, folded)
                    held.size = sum(part.nbytes for part in held.built.model.state_dict().values())
                built = held.built
            self._evict()
            yield built
        finally:
            with self._lock:
                held.users -= 1
                if held.built is None and not held.users:
                    self._held.pop(key, None)
            self._evict()

    @property
    def cached_bytes(self) -> int:
        """Bytes of the models in memory."""
        with self._lock:
            return sum(held.size for held in self._held.values())

    def _evict(self) -> None:
        with self._lock:
            total = sum(held.size for held in self._held.values())
            for key, held in list(self._held.items()):
                if total > self.budget and not held.users:
                    total -= held.size
                    del self._held[key]

    def _load(self, ref: ModelRef, precision: Precision, folded: bool) -> Built:
        import torch
        from safetensors.torch import load_file

        from services.model.adapters.registry import build
        from services.model.capture.folding import fold_batch_norm
        from services.model.capture.samples import sample_batch
        from services.model.weights import load_into

        if ref.preprocessing is None:
            from services.model.language.stored import load_stored

            language = load_stored(ref, self.blobs)
            if precision is Precision.BF16:
                language.model.to(torch.bfloat16)
            return Built(language.model, None, language=language)
        built = build(ref.architecture, ref.config)
        load_into(built.model, load_file(self.blobs.open(ref.weights_sha256)))
        if folded:
            fold_batch_norm(built.model.eval(), sample_batch(ref.preprocessing))
        dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
        built.model.to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False)
        return built
