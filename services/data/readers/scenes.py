"""Generated scenes as a source: nothing is on disk, every entry is drawn when it is read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from PIL import Image
from pydantic import JsonValue

from contracts.data import ScenesSource
from services.data.readers.port import Listed, Listing, Masked
from services.kit.keys import sha256_of
from services.kit.scenes import GENERATOR, caption_of, draw_scene, render


def list_scenes(source: ScenesSource) -> Listing:
    """Draw the factors of every scene, without rendering one."""
    settings: dict[str, JsonValue] = source.model_dump(mode="json")
    entries = []
    for index in range(source.n):
        scene = draw_scene(source, index)
        where: dict[str, JsonValue] = {"source": settings, "index": index}
        name = f"{source.split}/{scene.item.kind}-{index:06d}.png"
        entries.append(
            Listed(where, name, label=scene.item.kind, caption=caption_of(scene), factors=scene.factors())
        )  # fmt: skip
    return Listing(entries, sha256_of({"generator": GENERATOR, "source": settings}), f"scenes, {source.split}")


def read_scenes(entries: Iterable[Listed]) -> Iterator[Masked]:
    """Render the listed scenes as PNG, with the masks of the object, the artefact and the context things."""
    for entry in entries:
        source = ScenesSource.model_validate(entry.where["source"])
        rendered = render(draw_scene(source, int(entry.where["index"])), source.side)  # type: ignore[arg-type]
        out = io.BytesIO()
        Image.fromarray(rendered.pixels).save(out, "PNG", compress_level=1)
        yield Masked(out.getvalue(), rendered.masks)
