import math

import pytest
import torch

from services.kit.torchvision_ops import mend_torchvision
from services.model.attribution.baselines import METHODS, attention_gradcam, chefer, gradcam, rollout
from services.model.attribution.baselines.attention import Recorder, attended, written_out
from services.model.attribution.baselines.errors import NoAttention

mend_torchvision()

INPUTS = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
TARGET = torch.tensor([1, 4])


def timm_vit(**changes):
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    how = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3, "num_classes": 5}
    return VisionTransformer(**how | changes).eval().requires_grad_(False)


def torchvision_vit():
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(32, 8, 2, 3, 24, 48, num_classes=5)
    torch.nn.init.normal_(model.heads.head.weight)
    return model.eval().requires_grad_(False)


def seen_by_hooks(model, inputs, target):
    """Matrices and slopes of a timm transformer whose attention is not fused, by module hooks and backward."""
    matrices = []

    def keep(module, given, output):
        output.retain_grad()
        matrices.append(output)

    handles = []
    for block in model.blocks:
        block.attn.fused_attn = False
        handles.append(block.attn.attn_drop.register_forward_hook(keep))
    model(inputs.clone().requires_grad_()).gather(1, target.unsqueeze(1)).sum().backward()
    for handle in handles:
        handle.remove()
    return [matrix.detach() for matrix in matrices], [matrix.grad for matrix in matrices]


def test_rollout_and_chefer_equal_a_loop_over_samples_blocks_and_heads():
    model = timm_vit()
    found = {"rollout": rollout(model, INPUTS, TARGET), "chefer": chefer(model, INPUTS, TARGET)}
    matrices, slopes = seen_by_hooks(model, INPUTS, TARGET)
    for sample in range(2):
        rolled, relevance = torch.eye(25), torch.eye(25)
        for matrix, slope in zip(matrices, slopes, strict=True):
            mean = sum(matrix[sample, head] for head in range(3)) / 3 + torch.eye(25)
            rolled = mean / mean.sum(1, keepdim=True) @ rolled
            heads = sum((matrix[sample, head] * slope[sample, head]).clamp(min=0) for head in range(3)) / 3
            relevance = relevance + heads @ relevance
        assert torch.allclose(found["rollout"][sample].flatten(), rolled[0, 1:], atol=1e-6)
        assert torch.allclose(found["chefer"][sample].flatten(), relevance[0, 1:], atol=1e-6)
    assert found["rollout"].shape == found["chefer"].shape == (2, 4, 6)


def test_fused_and_plain_attention_give_the_same_map():
    model = timm_vit()
    fused = chefer(model, INPUTS, TARGET)
    for block in model.blocks:
        block.attn.fused_attn = not block.attn.fused_attn
    assert torch.allclose(fused, chefer(model, INPUTS, TARGET), atol=1e-6)


def test_writing_attention_out_changes_nothing():
    query, key, value = torch.randn(3, 2, 4, 7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mask = torch.ones(7, 7, dtype=torch.bool).tril()
    plain = torch.nn.functional.scaled_dot_product_attention
    for extra in ({}, {"is_causal": True}, {"attn_mask": mask}, {"attn_mask": mask.double()}, {"scale": 0.3}):
        output, matrix = written_out(query, key, value, **extra)
        assert torch.allclose(output, plain(query, key, value, **extra), atol=1e-12)
        assert torch.allclose(matrix.sum(-1), torch.ones(2, 4, 7, dtype=torch.float64))
    grouped, _ = written_out(query, key[:, :2], value[:, :2], enable_gqa=True)
    assert torch.allclose(grouped, plain(query, key[:, :2], value[:, :2], enable_gqa=True), atol=1e-12)


def test_torchvision_attention_is_seen_and_its_scores_unchanged():
    model, inputs = torchvision_vit(), INPUTS[..., :32]
    seen = attended(model, inputs, TARGET)
    assert [tuple(matrix.shape) for matrix in seen.matrices] == [(2, 3, 17, 17)] * 2
    assert torch.allclose(seen.score, model(inputs).gather(1, TARGET.unsqueeze(1)).squeeze(1), atol=1e-5)
    assert chefer(model, inputs, TARGET).shape == rollout(model, inputs, TARGET).shape == (2, 4, 4)


def test_multi_head_attention_written_out_equals_torchs():
    layer = torch.nn.MultiheadAttention(12, 3, batch_first=True).double().eval()
    query, key = torch.randn(2, 2, 5, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    query.requires_grad_()
    forbidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for extra in ({}, {"attn_mask": forbidden}, {"attn_mask": forbidden.expand(6, 5, 5)}, {"need_weights": False}):
        for other in (query, key):
            expected = layer(query, other, other, **extra)
            with Recorder() as recorder:
                found = layer(query, other, other, **extra)
            assert len(recorder.matrices) == 1
            assert torch.allclose(found[0], expected[0], atol=1e-12)
            if expected[1] is not None:
                assert torch.allclose(found[1], expected[1], atol=1e-12)
            else:
                assert found[1] is None


def test_maps_of_a_batch_are_those_of_its_samples():
    model = timm_vit()
    for name in ("rollout", "chefer", "gradcam"):
        together = METHODS[name](model, INPUTS, TARGET)
        single = torch.cat([METHODS[name](model, INPUTS[i : i + 1], int(TARGET[i])) for i in range(2)])
        assert torch.allclose(together, single, atol=1e-6), name


def test_registers_are_no_patches_and_a_mean_head_reads_all_patches():
    registers = timm_vit(reg_tokens=3)
    assert attended(registers, INPUTS, TARGET).prefix == 4
    pooled = timm_vit(class_token=False, global_pool="avg")
    seen = attended(pooled, INPUTS, TARGET)
    assert (seen.prefix, seen.pooled) == (0, True)
    grid = seen.read(seen.matrices[0])
    assert torch.allclose(grid.flatten(-2), seen.matrices[0].mean(-2))


def test_evidence_against_the_class_shows_in_the_signed_variant_only():
    model = timm_vit()
    assert chefer(model, INPUTS, TARGET).min() >= 0
    assert chefer(model, INPUTS, TARGET, signed=True).min() < 0


def test_gradcam_of_a_transformer_reads_its_last_attention():
    model = timm_vit()
    assert torch.equal(gradcam(model, INPUTS, TARGET), attention_gradcam(model, INPUTS, TARGET))
    matrices, slopes = seen_by_hooks(model, INPUTS, TARGET)
    row, slope = matrices[-1][0, :, 0, 1:], slopes[-1][0, :, 0, 1:]
    expected = (row * slope.mean(1, keepdim=True)).mean(0).clamp(min=0)
    assert torch.allclose(gradcam(model, INPUTS, TARGET)[0].flatten(), expected, atol=1e-7)


def test_a_network_without_attention_is_refused():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    for method in (rollout, chefer):
        with pytest.raises(NoAttention):
            method(net, INPUTS, 0)


def test_tokens_that_form_no_grid_are_refused():
    model = timm_vit()
    model.num_prefix_tokens = 2
    with pytest.raises(NoAttention):
        attended(model, INPUTS, TARGET)
    assert math.prod(attended(timm_vit(), INPUTS, TARGET).grid) == 24
