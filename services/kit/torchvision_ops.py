"""Make torchvision importable beside a torch build for which its compiled operators are missing.

The registry's torchvision wheel carries operators compiled for CUDA builds of torch; beside the CPU build they do
not load, and `import torchvision` fails when it registers fake kernels for `torchvision::nms`, which nothing has
declared. Declaring the two schemas is enough for all that we use (transforms, models). Call `mend_torchvision`
before the first import of torchvision, timm, open_clip or transformers. Where the operators exist, it does nothing.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@cache
def mend_torchvision() -> bool:
    """Declare what is missing; True if something had to be declared."""
    import torch

    spec = find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]
        except (OSError, RuntimeError):
            continue  # compiled for another torch: exactly the case to mend
    missing = [schema for name, schema in SCHEMAS.items() if not hasattr(torch.ops.torchvision, name)]
    if missing:
        global _LIBRARY
        _LIBRARY = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # kept: the schemas end with the object
        for schema in missing:
            _LIBRARY.define(schema)  # type: ignore[no-untyped-call]
    return bool(missing)


_LIBRARY: object = None
