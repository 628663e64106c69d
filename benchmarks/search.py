"""Search through HTTP at 100,000 components: cached and new texts, pictures, twenty clients at once.

The snapshot is the demo's own, built by the real pipeline on fewer crops, with each component repeated and turned by a
little noise until there are 100,000; the server is `xsys serve` in a process of its own on the same two cores.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

from benchmarks.report import Report
from contracts.base import Caller
from contracts.data import DatasetRegistration, DemoSource
from contracts.model import Layer, ModelRegistration
from contracts.snapshots import SnapshotRequest
from orchestration.bootstrap import Wiring, build
from services.kit.arrays import load_arrays, save_arrays
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.keys import sha256_of
from services.kit.settings import Settings
from services.kit.stages import Work

COMPONENTS = 100_000
LAYER = "conv_head"
CLIENTS = 20
WORDS = ("striped", "round", "dark", "shiny", "old", "small", "wooden", "red", "distant", "soft", "broken", "wet")
THINGS = ("cat", "wheel", "tower", "cup", "leaf", "coin", "window", "rocket", "letter", "stone", "lens", "engine")


def built(home: Path, crops: int) -> tuple[Wiring, Caller]:
    """Build the small snapshot with the real pipeline."""
    from orchestration.jobs.supervisor import ensure_worker

    wiring = build(Settings(home=home))
    me = wiring.governance.operator()
    source = DemoSource(crops=crops)
    with ensure_worker(wiring.settings):
        for submit, body in (
            (wiring.jobs.register_dataset, DatasetRegistration(name="demo", source=source)),
            (wiring.jobs.register_model, ModelRegistration(name="lite0", architecture="timm:tf_efficientnet_lite0")),
            (wiring.jobs.build_snapshot, SnapshotRequest(model="lite0", dataset="demo", layers=[LAYER], name="small")),
        ):
            *_, (_, job) = wiring.jobs.watch(me, submit(me, body).id)  # type: ignore[operator]
            if job.state != "done":
                raise SystemExit(f"{job.title}: {job.failures}")
    return wiring, me


def repeated(arrays: dict[str, np.ndarray], width: int, times: int, draw: np.random.Generator) -> dict[str, np.ndarray]:
    """Repeat a layer's components, positive sides first as the format wants it; vectors are turned a little."""
    components = len(arrays.get("ids", arrays.get("state")))  # type: ignore[arg-type]
    sides = components // width
    copies = np.concatenate([np.tile(np.arange(side * width, (side + 1) * width), times) for side in range(sides)])
    out = {name: array[copies] for name, array in arrays.items() if len(array) == components and "row_" not in name}
    out |= {name: np.tile(array, (times, 1)) for name, array in arrays.items() if name in ("histogram", "edges")}
    if "index" in arrays:
        out["index"] = np.tile(np.arange(width * times, dtype=np.int32), sides)
    if "row_component" in arrays:
        out |= _repeated_rows(arrays, width, times, draw)
    return out


def _repeated_rows(
    arrays: dict[str, np.ndarray], width: int, times: int, draw: np.random.Generator
) -> dict[str, np.ndarray]:
    of = arrays["row_component"]
    side, place = of // width, of % width
    joined = np.concatenate([side * width * times + copy * width + place for copy in range(times)])
    order = np.lexsort((np.tile(arrays["row_prototype"], times), joined))
    per_row = {name for name, array in arrays.items() if len(array) == len(of)}
    names = [name for name in per_row if name.startswith(("row_", "text_", "image_"))]
    out = {name: np.tile(arrays[name], (times,) + (1,) * (arrays[name].ndim - 1))[order] for name in names}
    out["row_component"] = joined[order]
    turned = out["row_vectors"] + draw.normal(0, 0.3 / np.sqrt(out["row_vectors"].shape[1]), out["row_vectors"].shape)
    out["row_vectors"] = (turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)
    return out


def enlarge(wiring: Wiring, me: Caller) -> int:
    """Publish the enlarged snapshot as `big` through the real index and publish stages; return its components."""
    small = wiring.explanation.snapshot(me, "small")
    request = small.request.model_copy(update={"name": "big", "seed": 1})
    plan = wiring.jobs.plan_snapshot(me, request)
    publish = plan.stages[-1].parts[0]
    roles = dict(wiring.jobs.plan_snapshot(me, small.request).stages[-1].parts[0].inputs)
    with wiring.database.reading() as db:
        known = find_artifacts(db, me.workspace, roles.values())
    layer = next(layer for layer in wiring.model.model(me, small.model.id).layers if layer.name == LAYER)
    times = -(-COMPONENTS // (layer.width * (2 if layer.signed else 1)))
    draw = np.random.default_rng(0)
    blobs = {role: known[key].blob for role, key in roles.items()}
    for kind in ("examples", "vectors"):
        arrays = repeated(load_arrays(wiring.blobs.open(blobs[f"{kind}/{LAYER}"])), layer.width, times, draw)
        path = wiring.blobs.temporary("big")
        save_arrays(path, arrays)
        blobs[f"{kind}/{LAYER}"] = wiring.blobs.keep(path)
    wide = layer.model_copy(update={"width": layer.width * times})
    inputs = {role: blobs[role] for role in (f"vectors/{LAYER}", "nulls")}
    _run(wiring, me, plan.stages[-2].parts[0].spec, "index", inputs, blobs)
    _publish(wiring, me, publish.spec, wide, blobs)
    return sum(layer.components for layer in wiring.explanation.snapshot(me, "big").layers)


def _run(wiring: Wiring, me: Caller, spec: dict, stage: str, inputs: dict[str, str], blobs: dict[str, str]) -> None:  # type: ignore[type-arg]
    names = ("index", "rows", "manifest")
    keys = {name: sha256_of({"big": name}) for name in names}
    work = Work(me.workspace, spec, inputs, frozenset(names), wiring.blobs, lambda units: None, keys)
    wiring.registry[stage].run(work)
    blobs.update({f"index/{name}": work.emitted[name] for name in names})


def _publish(wiring: Wiring, me: Caller, spec: dict, layer: Layer, blobs: dict[str, str]) -> None:  # type: ignore[type-arg]
    keys = {role: sha256_of({"big": role, "blob": blob}) for role, blob in blobs.items()}
    snapshot = sha256_of({"big": sorted(blobs.values())})
    work = Work(
        me.workspace, {**spec, "layers": [layer.model_dump(mode="json")]}, blobs, frozenset({"snapshot"}), wiring.blobs,
        lambda units: None, {**keys, "snapshot": snapshot},
    )  # fmt: skip
    wiring.registry["publish"].run(work)
    with wiring.database.writing() as db:
        for role, blob in {**blobs, "snapshot": work.emitted["snapshot"]}.items():
            key = snapshot if role == "snapshot" else keys[role]
            record_artifact(db, me.workspace, Artifact(key, role, blob, wiring.blobs.path(blob).stat().st_size), {})  # type: ignore[arg-type]
        for move in work.at_publish:
            move(db)


@contextmanager
def server(home: Path) -> Iterator[str]:
    """Run `xsys serve` in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "orchestration.cli", "serve", "--no-worker", "--port", str(port)]
    environment = os.environ | {"XSYS_HOME": str(home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


class Client:
    """One client with its own connection."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{url}/v1", headers=headers, timeout=30)

    def seconds(self, term: dict[str, object]) -> float:
        """Search and return how long it took; anything but 200 is an error."""
        begun = time.perf_counter()
        reply = self._http.post("/snapshots/big/search", json={"terms": [term], "k": 20})
        taken = time.perf_counter() - begun
        if reply.status_code != 200 or len(reply.json()["hits"]) != 20:
            raise RuntimeError(f"{reply.status_code}: {reply.text[:300]}")
        return taken


def text(words: str) -> dict[str, object]:
    """A text term."""
    return {"kind": "text", "text": words}


def picture(number: int) -> dict[str, object]:
    """A picture term that was never sent before: a crop of a photograph."""
    import skimage.data
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(skimage.data.chelsea()).crop((number, number, number + 260, number + 260)).save(out, "JPEG")
    return {"kind": "picture", "picture": base64.b64encode(out.getvalue()).decode()}


def measured(ask: Callable[[int], float], times: int) -> np.ndarray:
    """Milliseconds of `times` calls."""
    return np.array([ask(number) * 1000 for number in range(times)])


def many_clients(url: str, token: str, each: int) -> tuple[np.ndarray, int]:
    """Milliseconds of all requests of twenty clients at once, half of them with new texts, and the errors."""
    taken: list[float] = []
    errors: list[str] = []

    def browse(number: int) -> None:
        client = Client(url, token)
        for turn in range(each):
            words = "a cat" if turn % 2 else f"{WORDS[number % 12]} {THINGS[turn % 12]} number {number}"
            try:
                taken.append(client.seconds(text(words)) * 1000)
            except (RuntimeError, httpx.HTTPError) as error:
                errors.append(str(error))

    threads = [threading.Thread(target=browse, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(taken), len(errors)


def in_process(wiring: Wiring, me: Caller) -> float:
    """The peer: p95 of a bare product of all rows with the query and a partition, without HTTP, z, or examples."""
    opened = wiring.explanation.opened(me, "big")
    rows, query = opened.generation.rows, opened.generation.rows[0]
    np.argpartition(-(rows @ query), 20)
    begun = [time.perf_counter()]
    for _ in range(40):
        np.argpartition(-(rows @ query), 20)
        begun.append(time.perf_counter())
    return float(np.percentile(np.diff(begun), 95) * 1000)


def main() -> int:
    """Build, serve, measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        wiring, me = built(home, crops=66 if quick else 220)
        count = enlarge(wiring, me)
        peer = in_process(wiring, me)
        token = wiring.governance.create_token(me, _token_request()).secret
        with server(home) as url:
            client = Client(url, token)
            client.seconds(text("a cat"))
            client.seconds(picture(0))
            cached = measured(lambda _: client.seconds(text("a cat")), 60 if quick else 300)
            fresh = measured(lambda n: client.seconds(text(f"{WORDS[n % 12]} {THINGS[n // 12]}")), 36 if quick else 144)
            pictures = measured(lambda n: client.seconds(picture(n + 1)), 8 if quick else 30)
            together, errors = many_clients(url, token, 4 if quick else 15)
        wiring.close()
    size = f"{count:,} components"
    for name, values, goal in (
        (f"search: cached text, {size}, p95 through HTTP", cached, 20),
        (f"search: new text, {size}, p95 through HTTP", fresh, 150),
        ("search: picture, p95 through HTTP", pictures, 400),
        (f"search: {CLIENTS} clients at once, p95", together, 1000),
    ):
        p95 = float(np.percentile(values, 95))
        report.line(
            metric=name, value=p95, unit="ms", goal=f"<= {goal}", ok=p95 <= goal, n=len(values),
            peer="rows @ query and partition, in process" if "cached" in name else None,
            peer_value=peer if "cached" in name else None, ratio=p95 / peer if "cached" in name else None,
            interval=[float(np.percentile(values, 50)), float(values.max())],
        )  # fmt: skip
    report.line(metric=f"search: errors of {CLIENTS} clients at once", value=errors, unit="", goal="0", ok=errors == 0)
    return report.exit_code


def _token_request():
    from contracts.governance import TokenRequest

    return TokenRequest(name="benchmark")


if __name__ == "__main__":
    sys.exit(main())
