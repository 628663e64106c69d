"""A data service on a real database and real blobs, and its jobs run in order in this process."""

import io
import json
import zipfile
from dataclasses import dataclass

import numpy as np
from PIL import Image

from contracts.base import ArtifactKey, Caller, Right
from contracts.data import Dataset, DatasetRegistration, Upload
from services.data.planning import plan_registration
from services.data.service import Data
from services.data.stages import stages
from services.kit.artifacts import Artifact, find_artifacts, record_artifact
from services.kit.stages import JobPlan, PartPlan, StageRegistry, Work


def caller(workspace: str = "w", *rights: Right) -> Caller:
    return Caller(user="u", workspace=workspace, rights=frozenset({Right.LOOK, Right.REGISTER, *rights}))


def picture(seed: int, width: int = 24, height: int = 16) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(seed: int) -> bytes:
    return encoded(picture(seed))


def packed(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@dataclass(frozen=True)
class Desk:
    """The data service, with what a worker would do for it."""

    data: Data

    def plan(self, source: object, name: str = "set", me: Caller | None = None, part_size: int = 4) -> JobPlan:
        body = DatasetRegistration.model_validate({"name": name, "source": source})
        registry = StageRegistry(stages(self.data))
        asking = me or caller("w", Right.SERVER_PATHS)
        return plan_registration(body, caller=asking, data=self.data, registry=registry, part_size=part_size)

    def run_part(self, stage: str, part: PartPlan, workspace: str = "w") -> Work:
        """Run one part on its recorded inputs, and publish it as a worker does."""
        with self.data.database.reading() as db:
            found = find_artifacts(db, workspace, part.inputs.values())
        inputs = {role: found[key].blob for role, key in part.inputs.items()}
        outputs = frozenset(part.outputs)
        spec = json.loads(json.dumps(part.spec, allow_nan=False))  # as a worker gets it
        assert spec == part.spec
        work = Work(workspace, spec, inputs, outputs, self.data.blobs, lambda units: None)
        work.keys = {**part.inputs, **part.outputs}
        StageRegistry(stages(self.data))[stage].run(work)
        with self.data.database.writing() as db:
            for output, blob in work.emitted.items():
                size = self.data.blobs.path(blob).stat().st_size
                artifact = Artifact(ArtifactKey(part.outputs[output]), f"{stage}/{output}", blob, size)
                record_artifact(db, workspace, artifact, part.inputs)
            for move in work.at_publish:
                move(db)
        return work

    def run(self, plan: JobPlan, workspace: str = "w") -> Dataset:
        """Run all stages in order and return the dataset that came of them."""
        for stage in plan.stages:
            works = [self.run_part(stage.stage, part, workspace) for part in stage.parts]
        return self.data.dataset(caller(workspace), works[-1].result)

    def register(self, source: object, name: str = "set", workspace: str = "w", part_size: int = 4) -> Dataset:
        me = caller(workspace, Right.SERVER_PATHS)
        return self.run(self.plan(source, name, me, part_size), workspace)

    def samples(self, dataset: Dataset, workspace: str = "w") -> list:
        return self.data.samples(caller(workspace), dataset.ref.id, limit=200).items

    def rejected(self, dataset: Dataset) -> dict[str, tuple[str, str]]:
        files = self.data.rejected(caller(), dataset.ref.id, limit=200).items
        return {file.name: (file.reason, file.detail) for file in files}

    def send(self, files: dict[str, bytes], workspace: str = "w") -> Upload:
        return self.data.upload(caller(workspace), packed(files))

    def register_zip(self, files: dict[str, bytes], name: str = "set") -> Dataset:
        return self.register({"kind": "upload", "upload": self.send(files).upload}, name)
