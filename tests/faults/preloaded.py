"""What a forked worker finds imported already; nothing is computed here."""

from services.kit.torchvision_ops import mend_torchvision

mend_torchvision()

import faiss  # noqa: E402, F401
import open_clip  # noqa: E402, F401
import sklearn.cluster  # noqa: E402, F401
import timm  # noqa: E402, F401

import orchestration.bootstrap  # noqa: E402, F401
