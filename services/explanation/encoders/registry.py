"""Encoders by name: `imagenet-minilm`, `dino`, `open_clip:ARCH/TAG_OR_FILE`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

from contracts.errors import UnknownEncoder
from contracts.snapshots import Encoder
from services.explanation.encoders import dino, imagenet_minilm, open_clip
from services.explanation.encoders.port import EncoderPort

PACKAGED: dict[str, Callable[[], EncoderPort]] = {
    imagenet_minilm.NAME: imagenet_minilm.open_encoder,
    dino.NAME: dino.open_encoder,
}


def load_encoder(name: str) -> EncoderPort:
    """Open an encoder. Weights are read on first use of the side that needs them.

    Raises
    ------
    UnknownEncoder : no such name, or its package or checkpoint is not here; the facts list what loads here.
    """
    if name in PACKAGED:
        return PACKAGED[name]()
    if name.startswith(open_clip.PREFIX):
        return open_clip.open_encoder(name)
    loads = [encoder.name for encoder in available_encoders()]
    raise UnknownEncoder(
        f"there is no encoder {name!r}; here load {', '.join(loads) or 'none'}", field="encoder", loads=loads
    )


def describe_encoder(name: str) -> Encoder:
    """The declared form of an encoder, without its weights in memory; raises UnknownEncoder."""
    return load_encoder(name).describe()


def available_encoders() -> list[Encoder]:
    """The encoders whose packages and checkpoints are installed; open_clip models are named by their files."""
    found = []
    for opened in PACKAGED.values():
        try:
            found.append(opened().describe())
        except UnknownEncoder:
            continue  # its package is not installed
    return found


class EncoderCache:
    """Loaded encoders of this process. Several threads that ask for one name at once load it once."""

    def __init__(self, load: Callable[[str], EncoderPort] = load_encoder) -> None:
        self._load = load
        self._lock = Lock()
        self._encoders: dict[str, Future[EncoderPort]] = {}

    def get(self, name: str) -> EncoderPort:
        """The encoder of this name. A failed load is told to all who waited for it, and tried again when next asked."""
        with self._lock:
            future = self._encoders.get(name)
            first = future is None
            if future is None:
                future = self._encoders[name] = Future()
        if not first:
            return future.result()
        try:
            encoder = self._load(name)
        except BaseException as error:  # whoever waits must not wait for ever
            with self._lock:
                del self._encoders[name]
            future.set_exception(error)
            raise
        future.set_result(encoder)
        return encoder
