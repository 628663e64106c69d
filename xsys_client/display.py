"""How answers look in a notebook. Pictures are embedded, so that a saved notebook shows them without a server."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Any

from contracts.attribution import AttributionAnswer
from contracts.base import Binary
from contracts.explanation import ComponentDetail, SearchHit, SearchHits
from contracts.steering import SteeringPreview

Thumbnails = Callable[[str, int], Binary]
SHOWN_HITS, SHOWN_PICTURES = 20, 6


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Render a table; the cells are HTML already."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def image(body: bytes, media_type: str, alt: str, *, height: int = 56) -> str:
    """Render a picture with its bytes in the page."""
    source = base64.b64encode(body).decode()
    return f'<img alt="{escape(alt)}" height="{height}" src="data:{media_type};base64,{source}">'


def number(value: float | None) -> str:
    """A figure of a table."""
    return "–" if value is None else f"{value:.3f}"


class Shown:
    """An answer with a display. Everything that the answer has can be read here as well."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.answer, name)

    def __repr__(self) -> str:
        return repr(self.answer)


class Hits(Shown):
    """Components found, best first."""

    answer: SearchHits

    def __init__(self, answer: SearchHits, dataset: str, thumbnails: Thumbnails) -> None:
        super().__init__(answer)
        self._dataset, self._thumbnails = dataset, thumbnails

    def __iter__(self) -> Iterator[SearchHit]:
        return iter(self.answer.hits)

    def __len__(self) -> int:
        return len(self.answer.hits)

    def __getitem__(self, place: int) -> SearchHit:
        return self.answer.hits[place]

    def _repr_html_(self) -> str:
        rows = (
            (
                escape(f"{hit.component.layer} · {hit.component.index}{'' if hit.component.sign > 0 else ' · −'}"),
                number(hit.score), number(hit.z), number(hit.clarity),
                self._pictures(one.sample for one in hit.examples[:SHOWN_PICTURES]),
            )
            for hit in self.answer.hits[:SHOWN_HITS]
        )  # fmt: skip
        return table(("component", "score", "z", "clarity", "examples"), rows)

    def _pictures(self, samples: Iterable[int]) -> str:
        return "".join(_thumbnail(self._thumbnails, self._dataset, sample) for sample in samples)


class ComponentCard(Shown):
    """One component with its strongest examples."""

    answer: ComponentDetail

    def __init__(self, answer: ComponentDetail, dataset: str, thumbnails: Thumbnails) -> None:
        super().__init__(answer)
        self._dataset, self._thumbnails = dataset, thumbnails

    def _repr_html_(self) -> str:
        one = self.answer.component
        pictures = "".join(
            _thumbnail(self._thumbnails, self._dataset, example.sample) for example in self.answer.examples[:12]
        )
        facts = (
            f"clarity {number(one.clarity)}, polysemanticity {number(one.polysemanticity)}, "
            f"redundancy {number(one.redundancy)}, {one.n_valid} examples"
        )
        name = f"{one.ref.layer} · {one.ref.index}{'' if one.ref.sign > 0 else ' · −'}"
        lineage = f"lineage <code>{escape(self.answer.lineage[:16])}</code>"
        return f"<h4>{escape(name)}</h4><p>{facts}; {lineage}</p><p>{pictures}</p>"


class Attribution(Shown):
    """Why a prediction: the picture beside one heat map a method."""

    answer: AttributionAnswer

    def _repr_html_(self) -> str:
        shown = [image(self.answer.picture, "image/png", "the picture as the model sees it", height=168)]
        shown += [
            image(one.heatmap, "image/png", one.method, height=168) + f"<br>{escape(one.method)}"
            for one in self.answer.maps
        ]
        cells = "".join(f'<td style="vertical-align:top">{cell}</td>' for cell in shown)
        name = self.answer.target.name or f"output {self.answer.target.index}"
        return f"<h4>{escape(name)}</h4><table><tr>{cells}</tr></table>"


class Steering(Shown):
    """A prediction before and after."""

    answer: SteeringPreview

    def _repr_html_(self) -> str:
        rows = (
            (escape(one.name or f"output {one.index}"), f"{one.before:.2%}", f"{one.after:.2%}", f"{one.change:+.2%}")
            for one in self.answer.changes
        )
        ending = "changed" if self.answer.flipped else "stayed"
        variation = f"total variation {self.answer.variation:.3f}"
        return table(("output", "before", "after", "change"), rows) + f"<p>The first output {ending}; {variation}.</p>"


def _thumbnail(thumbnails: Thumbnails, dataset: str, sample: int) -> str:
    found = thumbnails(dataset, sample)
    return image(found.body, found.media_type, f"sample {sample}")
