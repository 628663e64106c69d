"""Small networks with every trait that interception has to cope with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(make: type[nn.Module], *args: object) -> nn.Module:
    torch.manual_seed(0)
    return make(*args).double().eval()


def mlp() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 14), nn.ReLU(), nn.Linear(14, 5)]
    return nn.Sequential(*layers).double().eval()


class FunctionalResidual(nn.Module):
    """Functional ReLUs, an in-place sum, a layer that runs twice, pooling by `mean`."""

    def __init__(self, *, inplace: bool = True) -> None:
        super().__init__()
        self.inplace = inplace
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        nn.init.normal_(self.norm.running_mean, std=0.3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)), inplace=self.inplace)
        for _ in range(2):
            y = self.twice(x)
            if self.inplace:
                y += x
            else:
                y = y + x
            x = torch.relu(y)
        return self.head(x.mean((-2, -1)))


class Block(nn.Module):
    """A pre-norm transformer block; attention by one of three equivalent calls."""

    def __init__(self, how: str = "sdpa", width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.how, self.heads, self.width = how, heads, width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.up, self.down = nn.Linear(width, 16), nn.Linear(16, width)
        nn.init.normal_(self.attention.in_proj_bias, std=0.2)

    def attend(self, x: Tensor) -> Tensor:
        if self.how == "module":
            return self.attention(x, x, x, need_weights=False)[0]
        batch, length, width = x.shape
        both = F.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, v = both.reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.how == "sdpa":
            out = F.scaled_dot_product_attention(q, k, v)
        else:
            out = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.attention.out_proj(out.transpose(1, 2).reshape(batch, length, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attend(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Patches, class token, positions, two blocks, a head on the class token."""

    def __init__(self, how: str = "sdpa") -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.blocks = nn.Sequential(Block(how), Block(how))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class GatedLanguage(nn.Module):
    """Token embedding, RMSNorm written out, gated MLP, rotary positions, grouped key and value heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.weight = nn.Embedding(11, 8), nn.Parameter(torch.rand(8) + 0.5)
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.gate, self.up, self.down = (nn.Linear(*shape, bias=False) for shape in ((8, 12), (8, 12), (12, 8)))
        self.head = nn.Linear(8, 11, bias=False)

    def rms(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def turned(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[-2], dtype=x.dtype)[:, None] * torch.tensor([1.0, 0.1], dtype=x.dtype).repeat(2)
        first, second = x.chunk(2, dim=-1)
        return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids) * 8**0.5
        h = self.rms(x)
        q, k, v = (each(h).unflatten(-1, (-1, 4)).transpose(1, 2) for each in (self.q, self.k, self.v))
        out = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True, enable_gqa=True)
        x = x + out.transpose(1, 2).flatten(2)
        h = self.rms(x)
        return self.head(x + self.down(F.silu(self.gate(h)) * self.up(h)))
