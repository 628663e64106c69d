"""Steering: time of a preview, isolation of concurrent requests, and nnsight on the same change of pictures and text.

The server is `xsys serve` with EfficientNet-Lite0 in a folder of its own. Isolation: steered and unsteered requests in
random order from eight clients at once; every unsteered answer has to be that of a quiet server, to the last bit.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor

from benchmarks.gateway import _clean, serving, xsys
from benchmarks.local_servers import free_port
from benchmarks.report import Report
from benchmarks.steering_text import beside_nnsight_on_text
from benchmarks.zennit_peer import efficientnet
from contracts.steering import DirectionTarget, Intervention
from services.model.interventions import steered, steps_of

LAYER, WIDTH = "blocks.4", 112
CLIENTS, MIXED = 8, 200
PEER = "nnsight 0.8.1"


def picture(seed: int) -> str:
    """A seeded picture, 320 x 320 px, as base64 of a PNG."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((320, 320), Image.Resampling.BICUBIC).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def preview(seed: int, index: int, strength: float = 1.0, **more: object) -> tuple[str, dict[str, Any]]:
    change = {"target": {"kind": "component", "layer": LAYER, "index": index}, "change": "ablate", "strength": strength}
    return "steering-preview", {"picture": picture(seed), "interventions": [change]} | more


def plain(seed: int, target: int) -> tuple[str, dict[str, Any]]:
    """An unsteered request; the target makes each one new to the server's cache."""
    return "attributions", {"picture": picture(seed), "methods": ["gradient"], "steps": 0, "target": target}


class Client:
    """Sends requests to one model of a server."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=f"{url}/v1/models/lite0", headers={"Authorization": f"Bearer {token}"}, timeout=120,
            trust_env=False,
        )  # fmt: skip

    def __call__(self, asked: tuple[str, dict[str, Any]]) -> dict[str, Any]:
        answer = self.http.post(f"/{asked[0]}", json=asked[1])
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


def percentile(seconds: list[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1]


def timed(send: Client, asked: list[tuple[str, dict[str, Any]]]) -> list[float]:
    took = []
    for each in asked:
        begun = time.perf_counter()
        send(each)
        took.append(time.perf_counter() - begun)
    return took


def cpu_seconds(process: int) -> float:
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def latency(report: Report, send: Client, rounds: int, server: int) -> None:
    """One component after the other on one picture; the first request pays for the unsteered prediction."""
    first = send(preview(0, 0))
    spent = cpu_seconds(server)
    took = timed(send, [preview(0, 1 + n % (WIDTH - 1)) for n in range(rounds)])
    spent = (cpu_seconds(server) - spent) / rounds
    p95 = percentile(took)
    report.line(
        metric="preview with a cached baseline through HTTP, p95", value=round(p95, 4), unit="s", goal="<= 1 s",
        ok=p95 <= 1 and not first["baseline_cached"], n=rounds,
    )  # fmt: skip
    report.line(
        metric="processor time of the server a preview, whatever else the machine does", value=round(spent, 4), unit="s"
    )
    maps = timed(send, [preview(0, n, maps=True) for n in range(max(5, rounds // 5))])
    report.line(
        metric="the same with Grad-CAM before and after, median", value=round(median(maps), 4), unit="s", n=len(maps)
    )
    curve = [preview(0, n, strengths=[-4, -2, -1, -0.5, 0.5, 1, 2, 4]) for n in range(max(3, rounds // 10))]
    report.line(
        metric="the same with a curve of 8 strengths, median", value=round(median(timed(send, curve)), 4), unit="s"
    )


def told(answer: dict[str, Any]) -> str:
    """What has to be the same: everything but the times."""
    if "maps" in answer and "top" in answer:
        parts = [answer["top"], answer["target"], [(each["absmax"], each["heatmap"]) for each in answer["maps"]]]
    else:
        parts = [answer["before"], answer["after"], answer["changes"]]
    return json.dumps(parts)


def isolation(report: Report, send: Client) -> None:
    """A half of the requests steers, a quarter asks for scores and gradients, a quarter steers with strength 0."""
    quiet = [plain(n % 5, n) for n in range(MIXED // 4)] + [preview(n % 5, n, 0.0) for n in range(MIXED // 4)]
    loud = [preview(n % 5, n % WIDTH, 1.0 + n % 7) for n in range(MIXED // 2)]
    expected = {n: told(send(each)) for n, each in enumerate(quiet)}
    alone = {n: told(send(each)) for n, each in enumerate(loud)}
    mixed = [(True, n) for n in expected] + [(False, n) for n in alone]
    random.Random(0).shuffle(mixed)
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(lambda one: told(send((quiet if one[0] else loud)[one[1]])), mixed))
    pairs = list(zip(mixed, found, strict=True))
    wrong = sum(answer != expected[n] for (unsteered, n), answer in pairs if unsteered)
    other = sum(answer != alone[n] for (unsteered, n), answer in pairs if not unsteered)
    moved = sum(
        told_before != told_after for told_before, told_after in (json.loads(each)[:2] for each in alone.values())
    )
    report.line(
        metric="unsteered answers that differ from a quiet server's among mixed concurrent requests", value=wrong,
        unit="", goal="0", ok=wrong == 0, n=len(expected),
    )  # fmt: skip
    report.line(
        metric="steered answers that differ from those of the same request alone", value=other, unit="", goal="0",
        ok=other == 0, n=len(alone),
    )  # fmt: skip
    report.line(
        metric="share of those steered requests that change a prediction", value=moved / len(loud), unit="share",
        goal="> 0.9 (else nothing could have leaked)", ok=moved / len(loud) > 0.9,
    )  # fmt: skip


def seconds_each(ways: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each way, taken in turns."""
    took: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, times in zip(ways, took, strict=True):
            begun = time.perf_counter()
            way()
            times.append(time.perf_counter() - begun)
    return [median(times) for times in took]


def beside_nnsight(report: Report, rounds: int) -> None:
    """The same addition to every place of a block, in the same process on the same weights."""
    try:
        from nnsight import NNsight
    except ImportError:
        print("nnsight is not installed: pip install nnsight==0.8.1", file=sys.stderr)
        return
    model = efficientnet().eval().requires_grad_(False).to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    batch = torch.randn(1, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    vector = torch.randn(WIDTH)
    shift = (20 * vector / vector.norm()).view(1, -1, 1, 1)
    target = DirectionTarget(layer=LAYER, vector=vector.tolist())
    steps = steps_of([Intervention(target=target, change="add", strength=20.0, unit="raw")], widths={LAYER: WIDTH})
    wrapped = NNsight(model)

    def ours() -> Tensor:
        with torch.inference_mode(), steered(model, steps):
            found: Tensor = model(batch)
        return found

    def theirs() -> Tensor:
        with torch.inference_mode(), wrapped.trace(batch):
            wrapped.blocks[4].output = wrapped.blocks[4].output + shift
            found = wrapped.output.save()
        return found  # type: ignore[no-any-return]

    def bare() -> Tensor:
        with torch.inference_mode():
            found: Tensor = model(batch)
        return found

    apart = float((ours() - theirs()).abs().max() / theirs().abs().max())
    moved = float((ours() - bare()).abs().max())
    report.line(
        metric="largest relative difference of the outputs", value=float(f"{apart:.2e}"), unit="1", goal="<= 1e-4",
        ok=apart <= 1e-4 and moved > 0.1, peer=PEER,
    )  # fmt: skip
    mine, peer, plain_seconds = seconds_each([ours, theirs, bare], rounds)
    report.line(
        metric="one steered forward pass, median", value=round(1000 * mine, 2), unit="ms", peer=PEER,
        peer_value=round(1000 * peer, 2), ratio=round(peer / mine, 3), n=rounds,
    )  # fmt: skip
    report.line(
        metric="the same beside an unsteered pass", value=round(mine / plain_seconds, 3), unit="x",
        peer="bare forward", peer_value=round(1000 * plain_seconds, 2),
    )  # fmt: skip


def main() -> int:
    """Exit with 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steering", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="at most a minute")
    parser.add_argument("--full", action="store_true")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    report = Report()
    beside_nnsight(report, 15 if quick else 60)
    beside_nnsight_on_text(report, seconds_each, quick=quick)
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        environment = _clean() | {"XSYS_HOME": str(Path(folder) / "home"), "XSYS_THREADS": "2"}
        xsys(environment, "model", "add", "lite0", "--architecture", "timm:tf_efficientnet_lite0")
        with serving(environment, url, "--port", str(port)) as process:
            token = json.loads(xsys(environment, "token", "create", "benchmark", "--json"))["secret"]
            send = Client(url, token)
            latency(report, send, 40 if quick else 200, process.pid)
            isolation(report, send)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
