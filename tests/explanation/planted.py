"""A dataset of coloured pictures, an encoder that sees their colours, a model that reacts to them, and a bench."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from contracts.base import Caller, Right
from contracts.data import DatasetRef, Sample
from contracts.errors import NoTextSide
from contracts.model import Layer, ModelRef, Preprocessing
from contracts.snapshots import Encoder, SnapshotRequest
from services.explanation.encoders.registry import EncoderCache
from services.explanation.service import Explanation
from services.explanation.stages import stages
from services.kit.arrays import save_arrays
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.blobs import Blobs
from services.kit.db import Database, Table
from services.kit.pictures import Entry, Place, write_manifest
from services.kit.settings import Settings
from services.kit.stages import StageFunction, Work

CONCEPTS = ("cat", "clock", "stripe", "sky", "letter")
COLOURS = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [220, 220, 30], [30, 220, 220]])
WIDTH = 32
N = 400
SHARD = 64
K = 12
CALLER = Caller(user="u", workspace="ours", rights=frozenset(Right))
STRANGER = Caller(user="u", workspace="theirs", rights=frozenset(Right))


class PlantedEncoder:
    """The encoder port for tests: five concepts on five axes; other words point anywhere else, frames add a constant.

    Pictures are seen by the colour of most of their pixels, with a little noise that depends on the rest.
    """

    name = "planted"
    width = WIDTH

    def __init__(self, *, text: bool = True, checkpoint: bytes = b"planted") -> None:
        self.text = text
        self.null = "template" if text else "none"
        self.fingerprint = hashlib.sha256(checkpoint).hexdigest()
        self.texts_encoded = 0

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        if not self.text:
            raise NoTextSide("planted reads no text", field="terms")
        self.texts_encoded += len(texts)
        return unit(np.stack([np.sum([self._word(word) for word in ["frame", *text.split()]], 0) for text in texts]))

    def _word(self, word: str) -> np.ndarray:
        if word in CONCEPTS:
            return np.eye(WIDTH)[CONCEPTS.index(word)] * 3
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).normal(size=WIDTH) / np.sqrt(WIDTH)

    def encode_images(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        rows = [self._seen(np.asarray(picture.convert("RGB"), dtype=np.float64)) for picture in pictures]
        return unit(np.stack(rows)) if rows else np.zeros((0, WIDTH), np.float32)

    def _seen(self, pixels: np.ndarray) -> np.ndarray:
        colour = np.median(pixels.reshape(-1, 3), axis=0)
        concept = int(np.abs(COLOURS - colour).sum(axis=1).argmin())
        seed = int(pixels.sum())
        return np.eye(WIDTH)[concept] * 2 + np.random.default_rng(seed).normal(size=WIDTH) * 0.12

    def truncates(self, texts: Sequence[str]) -> list[bool]:
        return [len(text.split()) > 8 for text in texts]

    def describe(self) -> Encoder:
        return Encoder(
            name=self.name, fingerprint=self.fingerprint, width=WIDTH, text=self.text, null=self.null, note="tests"
        )


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def picture(concept: int, number: int) -> Image.Image:
    """A picture of one colour; its first row of pixels makes it different from all others of that colour."""
    pixels = np.tile(COLOURS[concept].astype(np.uint8), (12, 12, 1))
    pixels[0] = np.random.default_rng(number).integers(0, 256, (12, 3))
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def concepts_of(n: int) -> np.ndarray:
    """Which concept each sample shows; the order means nothing."""
    return np.random.default_rng(1).permutation(np.arange(n) % len(CONCEPTS))


MAPS = Layer(name="maps", kind="map", module="maps", width=9, signed=False, pooling="max")
TOKENS = Layer(name="tokens", kind="tokens", module="tokens", width=3, signed=True, pooling="token-mean")


def activations(n: int) -> dict[str, dict[str, np.ndarray]]:
    """Pooled activations of the two layers.

    maps: 0-4 react to one concept each, 5 to the first two, 6 is dead, 7 is active on three samples, 8 on random ones.
    tokens: 0 reacts to `cat` with plus and to `sky` with minus, 1 to `clock` and `letter`, 2 is always negative.
    """
    draw = np.random.default_rng(2)
    shown = concepts_of(n)
    maps = np.maximum(draw.normal(-2, 0.3, (n, MAPS.width)), 0).astype(np.float32)
    for concept in range(5):
        maps[shown == concept, concept] = draw.uniform(0.6, 1.4, (shown == concept).sum())
    maps[shown <= 1, 5] = draw.uniform(0.6, 1.4, (shown <= 1).sum())
    maps[:, 6] = 0
    maps[[1, 4, 7], 7] = [1.0, 2.0, 3.0]
    maps[:, 8] = draw.uniform(0.1, 1, n)
    tokens = draw.normal(0, 0.05, (n, TOKENS.width)).astype(np.float32)
    for channel, (plus, minus) in enumerate([(0, 3), (1, 4)]):
        tokens[shown == plus, channel] += draw.uniform(0.6, 1.4, (shown == plus).sum())
        tokens[shown == minus, channel] -= draw.uniform(0.6, 1.4, (shown == minus).sum())
    tokens[:, 2] = -draw.uniform(1, 2, n)
    positions = draw.integers(0, 49, maps.shape).astype(np.int32)
    return {"maps": {"values": maps, "positions": positions}, "tokens": {"values": tokens}}


@dataclass
class Bench:
    """Runs stages as a worker does, and keeps rows and bytes where the service reads them."""

    root: Path
    encoder: PlantedEncoder = field(default_factory=PlantedEncoder)
    n: int = N

    def __post_init__(self) -> None:
        self.database = Database(f"sqlite:///{self.root}/x.sqlite")
        self.blobs = Blobs(self.root / "blobs")
        self.service = self.fresh_service()
        Table.metadata.create_all(self.database.engine)
        self.roles: dict[str, str] = {}

    def fresh_service(self, encoder: PlantedEncoder | None = None) -> Explanation:
        """A service of a process that has opened nothing yet."""
        cache = EncoderCache(lambda name: encoder or self.encoder)
        blobs = Blobs(self.root / "blobs")
        return Explanation(self.database, blobs, Settings(home=self.root), cache)

    def key(self, role: str) -> str:
        return hashlib.sha256(role.encode()).hexdigest()

    def put(self, role: str, path: Path) -> None:
        """Keep a file as the artifact `role`."""
        self.record(role, self.blobs.keep(path), {})

    def record(self, role: str, blob: str, inputs: dict[str, str]) -> None:
        self.roles[role] = self.key(role)
        size = self.blobs.path(blob).stat().st_size
        with self.database.writing() as db:
            record_artifact(db, "ours", Artifact(self.key(role), role[:80], blob, size), inputs)

    def blob(self, role: str) -> str:
        with self.database.reading() as db:
            return find_artifacts(db, "ours", [self.key(role)])[self.key(role)].blob

    def run(self, stage: str, spec: dict, inputs: dict[str, str], outputs: dict[str, str]) -> Work:
        """Run one part: inputs and outputs are the stage's names -> our roles."""
        functions: dict[str, StageFunction] = {function.name: function for function in stages(self.service)}
        keys = {name: self.key(role) for name, role in {**inputs, **outputs}.items()}
        given = {name: self.blob(role) for name, role in inputs.items()}
        work = Work("ours", spec, given, frozenset(outputs), self.blobs, lambda units: None, keys=keys)
        functions[stage].run(work)
        for name, role in outputs.items():
            self.record(role, work.emitted[name], {given_as: self.key(of) for given_as, of in inputs.items()})
        with self.database.writing() as db:
            for move in work.at_publish:
                move(db)
        return work

    def prepare(self) -> None:
        """Store the pictures, the manifest and the pooled activations."""
        shown, entries, pack = concepts_of(self.n), [], b""
        for index in range(self.n):
            data = png(picture(int(shown[index]), index))
            sample = Sample(
                index=index, sha256=hashlib.sha256(data).hexdigest(), name=f"{index}.png",
                label=CONCEPTS[shown[index]], group=f"photo {index // 2}", width=12, height=12,
            )  # fmt: skip
            entries.append((sample, len(pack), len(data)))
            pack += data
        name = self.blobs.put(pack)
        path = self.blobs.temporary("manifest")
        places = [Entry(sample, Place(name, at, size), Place(name, at, size)) for sample, at, size in entries]
        write_manifest(path, places)
        self.put("manifest", path)
        for layer, arrays in activations(self.n).items():
            for number, start in enumerate(range(0, self.n, SHARD)):
                path = self.blobs.temporary("shard")
                save_arrays(path, {name: array[start : start + SHARD] for name, array in arrays.items()})
                self.put(f"shard/{layer}/{number:05d}", path)

    def build(self, *, name: str | None = None, seed: int = 0, layers: tuple[Layer, ...] = (MAPS, TOKENS)) -> str:
        """Run all stages; return the snapshot's id."""
        encoder = self.encoder.describe().model_dump(mode="json")
        shards = range(len(range(0, self.n, SHARD)))
        for layer in layers:
            inputs = {"manifest": "manifest"} | {f"shard/{s:05d}": f"shard/{layer.name}/{s:05d}" for s in shards}
            spec = {
                "layer": layer.model_dump(mode="json"), "k": K, "n_bottom": 4, "max_per_group": None, "n": self.n,
            }  # fmt: skip
            outputs = {"examples": f"examples/{layer.name}", "columns": f"columns/{layer.name}"}
            self.run("examples", spec, inputs, outputs)
        embeddings = {f"embeddings/{s:05d}": f"embeddings/{s:05d}" for s in shards}
        for s, role in zip(shards, embeddings, strict=True):
            spec = {"encoder": encoder, "start": s * SHARD, "stop": min((s + 1) * SHARD, self.n), "batch": 32}
            self.run("embeddings", spec, {"manifest": "manifest"}, {"embeddings": role})
        spec = {"encoder": encoder, "k": K, "seed": seed, "R": 400, "background": 200}
        self.run("nulls", spec, embeddings, {"nulls": "nulls"})
        for layer in layers:
            spec = {"layer": layer.model_dump(mode="json"), "n": self.n, "k": K, "seed": seed}
            inputs = {"examples": f"examples/{layer.name}", "nulls": "nulls", **embeddings}
            self.run("vectors", spec, inputs, {"vectors": f"vectors/{layer.name}"})
        names = [layer.name for layer in layers]
        inputs = {f"vectors/{layer}": f"vectors/{layer}" for layer in names} | {"nulls": "nulls"}
        outputs = {part: f"index/{part}" for part in ("index", "rows", "manifest")}
        self.run("index", {"encoder": encoder, "layers": names, "seed": seed}, inputs, outputs)
        return self.publish(name=name, seed=seed, layers=layers)

    def publish(
        self, *, name: str | None, seed: int, version: int = 1, layers: tuple[Layer, ...] = (MAPS, TOKENS)
    ) -> str:
        """Publish what was built; another seed is another request, another version another result of the same one."""
        per_layer = [f"{kind}/{layer.name}" for layer in layers for kind in ("examples", "columns", "vectors")]
        roles = ["manifest", "nulls", "index/index", "index/rows", "index/manifest", *per_layer]
        request = SnapshotRequest(
            model="m_1",
            dataset="d_1",
            layers=[layer.name for layer in layers],
            encoder="planted",
            name=name,
            k=K,
            seed=seed,
        )
        spec = {
            "request": request.model_dump(mode="json"),
            "model": MODEL.model_dump(mode="json"),
            "dataset": DATASET.model_copy(update={"n": self.n}).model_dump(mode="json"),
            "encoder": self.encoder.describe().model_dump(mode="json"),
            "layers": [layer.model_dump(mode="json") for layer in layers],
        }
        output = {"snapshot": f"snapshot {seed}" if version == 1 else f"later {seed} {version}"}
        result = self.run("publish", spec, {role: role for role in roles}, output).result
        assert result is not None
        return result


ZERO = "0" * 64
MODEL = ModelRef(
    id="m_1", name="toy", architecture="timm:toy", weights_sha256=ZERO, preprocess_sha256=ZERO, model_sha256=ZERO,
    preprocessing=Preprocessing(resize=12, crop=12, mean=(0, 0, 0), std=(1, 1, 1)),
)  # fmt: skip
DATASET = DatasetRef(id="d_1", name="colours", content_sha256=ZERO, order_sha256=ZERO, n=N)
