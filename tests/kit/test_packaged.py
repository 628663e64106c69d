import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from contracts.errors import WrongWeights
from services.kit.packaged import match_in_order, minilm_folder, packaged_checkpoint, read_checkpoint


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_the_demo_models_checkpoints_are_installed():
    assert packaged_checkpoint("tf_efficientnet_lite0").suffix == ".pth"
    assert packaged_checkpoint("tf_efficientnet_lite2").suffix == ".pth"
    assert packaged_checkpoint("resnet50") is None
    assert (minilm_folder() / "model.safetensors").is_file()


def test_a_checkpoint_with_other_names_is_matched_by_order_and_shape():
    theirs = {f"x{place}": tensor + 1 for place, tensor in enumerate(net().state_dict().values())}
    model = net()
    model.load_state_dict(match_in_order(theirs, model))
    assert torch.equal(model[0].weight, theirs["x0"])


def test_the_first_tensor_that_does_not_fit_is_named():
    theirs = dict(net().state_dict())
    theirs["0.bias"] = torch.zeros(5)
    with pytest.raises(WrongWeights, match=r"0\.bias \(5,\)"):
        match_in_order(theirs, net())
    del theirs["0.bias"]
    with pytest.raises(WrongWeights, match="6 tensors for a model of 7"):
        match_in_order(theirs, net())


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_both_formats_read_alike(tmp_path, wrapper):
    state = net().state_dict()
    save_file(state, tmp_path / "x.safetensors")
    torch.save({wrapper: state} if wrapper else state, tmp_path / "x.pth")
    one, two = read_checkpoint(tmp_path / "x.safetensors"), read_checkpoint(tmp_path / "x.pth")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"x": Bomb()}, tmp_path / "x.pth")
    with pytest.raises(WrongWeights, match="plain state dict"):
        read_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x04]"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_rubbish_is_refused(tmp_path, content, suffix):
    path = (tmp_path / "x").with_suffix(suffix)
    path.write_bytes(content)
    with pytest.raises(WrongWeights):
        read_checkpoint(path)


def test_a_missing_file_is_named_without_its_folder(tmp_path):
    with pytest.raises(WrongWeights, match=r"no file gone\.pth"):
        read_checkpoint(tmp_path / "gone.pth")
