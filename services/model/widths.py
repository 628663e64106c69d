"""A network of other widths: what was cut out of a model, told as numbers that a config can hold.

Cutting again at each load would need the dependency graph, which takes seconds; the widths are enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import JsonValue

from services.model.errors import BadConfig

if TYPE_CHECKING:
    from torch import nn

KEY = "widths"
ATTRIBUTES = ("in_channels", "out_channels", "in_features", "out_features", "num_features", "groups")
Widths = dict[str, dict[str, int]]


def changed_widths(before: nn.Module, after: nn.Module) -> Widths:
    """Widths of `after` that differ from those of `before`, by module name; both have the same modules."""
    modules = dict(before.named_modules())
    found: Widths = {}
    for name, module in after.named_modules():
        now = {key: value for key in ATTRIBUTES if type(value := getattr(module, key, None)) is int}
        differing = {key: value for key, value in now.items() if getattr(modules[name], key) != value}
        if differing:
            found[name] = differing
    return found


def set_widths(model: nn.Module, told: JsonValue | Widths) -> None:
    """Give modules other widths, in place; their parameters are empty until weights are loaded.

    Parameters
    ----------
    told : {module: {attribute: number}}, as `changed_widths` gives it and as it stands in a model's config.

    Raises
    ------
    BadConfig : anything else, or a module that the model does not have.
    """
    modules = dict(model.named_modules())
    if not isinstance(told, Mapping):
        raise BadConfig(f"{KEY} is an object of widths by module", field="config")
    for name, widths in told.items():
        module = modules.get(name)
        if module is None or not isinstance(widths, Mapping) or not set(widths) <= set(ATTRIBUTES):
            raise BadConfig(f"{KEY}: there is no module {name} with such widths", field="config")
        for attribute, value in widths.items():
            if type(value) is not int or not 1 <= value <= getattr(module, attribute):
                raise BadConfig(f"{KEY}: {name} cannot have {attribute} {value}", field="config")
            setattr(module, attribute, value)
        _resize(name, module)


def _resize(name: str, module: nn.Module) -> None:
    import torch
    from torch import nn

    if isinstance(module, nn.modules.conv._ConvNd):
        shape: tuple[int, ...] = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        width = module.out_channels
    elif isinstance(module, nn.Linear):
        shape, width = (module.out_features, module.in_features), module.out_features
    elif isinstance(module, nn.modules.batchnorm._BatchNorm):
        shape, width = (module.num_features,), module.num_features
    else:
        raise BadConfig(f"{KEY}: {name} is a {type(module).__name__}, whose width is not known", field="config")
    for own, size in (("weight", shape), ("bias", (width,)), ("running_mean", (width,)), ("running_var", (width,))):
        held = getattr(module, own, None)
        if isinstance(held, nn.Parameter):
            setattr(module, own, nn.Parameter(torch.zeros(size, dtype=held.dtype), requires_grad=held.requires_grad))
        elif isinstance(held, torch.Tensor):
            setattr(module, own, torch.ones(size, dtype=held.dtype))
