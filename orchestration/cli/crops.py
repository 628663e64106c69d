"""`xsys component … --crops FOLDER`: the examples of a component, cut to what it saw."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import typer

from contracts.crops import ComponentCrops, CropRequest
from contracts.explanation import ComponentDetail
from orchestration.cli.desk import Desk
from orchestration.cli.render import show_table

Method = Literal["activation-map", "relevance"]


def crops_of(at: Desk, detail: ComponentDetail, method: Method) -> ComponentCrops:
    """Ask the model service where the component looks in its examples."""
    reference, snapshot = detail.component.ref, at.explanation.snapshot(at.caller, detail.snapshot)
    query = CropRequest(
        layer=reference.layer, index=reference.index, sign=reference.sign, dataset=snapshot.dataset.id,
        samples=[example.sample for example in detail.examples], method=method,
    )  # fmt: skip
    return at.model.component_crops(at.caller, snapshot.model.id, query)


def write_crops(at: Desk, detail: ComponentDetail, folder: Path, method: Method) -> None:
    """Write one PNG for each example, best first, and say where each was cut."""
    from PIL import Image

    found = crops_of(at, detail, method)
    dataset = at.explanation.snapshot(at.caller, detail.snapshot).dataset.id
    folder.mkdir(parents=True, exist_ok=True)
    for number, crop in enumerate(found.crops):
        stored = Image.open(io.BytesIO(at.data.picture(at.caller, dataset, crop.sample).body))
        box = crop.box
        cut = stored.convert("RGB").crop((box.left, box.top, box.right, box.bottom))
        cut.save(folder / f"{number:02d}_sample{crop.sample}.png")
    show_table(
        ("crop of sample", "left", "top", "right", "bottom", "share", "whole because"),
        (
            (one.sample, one.box.left, one.box.top, one.box.right, one.box.bottom, one.share, one.whole)
            for one in found.crops
        ),
    )
    typer.echo(f"wrote {len(found.crops)} crops by {found.method} to {folder}, median share {found.median_share:.0%}")
