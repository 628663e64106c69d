"""From the name of an architecture to a built module."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import JsonValue

from contracts.errors import UnknownArchitecture
from services.model.adapters.entry_point import EntryPoints
from services.model.adapters.language_models import LanguageModels
from services.model.adapters.open_clip_towers import OpenClipTowers
from services.model.adapters.port import Adapter, Built
from services.model.adapters.spiking_nets import SpikingNets
from services.model.adapters.timm_models import TimmModels
from services.model.adapters.torchvision_models import TorchvisionModels
from services.model.errors import BadConfig
from services.model.suppression import KEY as SUPPRESS
from services.model.suppression import suppress
from services.model.widths import KEY as WIDTHS
from services.model.widths import set_widths

OURS = frozenset({SUPPRESS, WIDTHS})
ADAPTERS: dict[str, Adapter] = {
    "timm": TimmModels(),
    "torchvision": TorchvisionModels(),
    "open_clip": OpenClipTowers(),
    "entry_point": EntryPoints(),
    "spiking": SpikingNets(),
    "llm": LanguageModels(packaged=True),
    "gguf": LanguageModels(),
    "causal_lm": LanguageModels(),
}


def adapter_for(architecture: str) -> tuple[Adapter, str]:
    """Split `family:name` and return the family's adapter and the name.

    Raises
    ------
    UnknownArchitecture : no such family, or no such name in it; `closest` has near names.
    """
    family, _, name = architecture.partition(":")
    adapter = ADAPTERS.get(family)
    if adapter is None:
        raise UnknownArchitecture(f"there is no family {family}", field="architecture", closest=list(ADAPTERS))
    names = adapter.names()
    if not (name in names or (family == "timm" and name.partition(".")[0] in names) or is_path(architecture)):
        closest = [f"{family}:{near}" for near in get_close_matches(name, names, n=3, cutoff=0.0)]
        raise UnknownArchitecture(f"there is no architecture {architecture}", field="architecture", closest=[*closest])
    return adapter, name


def is_path(architecture: str) -> bool:
    """Whether an architecture names a function in a module (`entry_point:package.module:function`)."""
    family, _, name = architecture.partition(":")
    return family == "entry_point" and ":" in name


def build(architecture: str, config: Mapping[str, JsonValue]) -> Built:
    """Build an architecture without weights, in eval mode.

    Raises
    ------
    UnknownArchitecture : see `adapter_for`.
    BadConfig : the constructor does not take these arguments.
    """
    adapter, name = adapter_for(architecture)
    try:
        built = adapter.build(name, {key: value for key, value in config.items() if key not in OURS})
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError) as error:  # whatever a constructor raises
        raise BadConfig(f"{architecture} cannot be built: {str(error)[:200]}", field="config") from error
    built.model.eval()
    if WIDTHS in config:
        set_widths(built.model, config[WIDTHS])
    if SUPPRESS in config:
        suppress(built.model, config[SUPPRESS])
    return built
