import pytest

from contracts.base import Caller, Right
from contracts.errors import PathNotAllowed
from orchestration.bootstrap import allowed_encoder
from services.kit.settings import Settings

ANALYST = Caller(user="a", workspace="w", rights=frozenset({Right.SUBMIT}))
OPERATOR = Caller(user="o", workspace="w", rights=frozenset(Right))


@pytest.mark.parametrize("name", ["imagenet-minilm", "dino", "open_clip:ViT-B-32/laion2b_s34b_b79k"])
def test_an_encoder_by_name_is_anybodys(name):
    assert allowed_encoder(ANALYST, name, Settings()) == name


@pytest.mark.parametrize("place", ["/etc/passwd", "secret.pth", "../secret", "weights/x.safetensors"])
def test_a_file_is_read_for_the_operator_or_inside_the_allowed_folders_only(place, tmp_path):
    name = f"open_clip:ViT-B-32/{place}"
    with pytest.raises(PathNotAllowed):
        allowed_encoder(ANALYST, name, Settings(import_roots=[tmp_path]))
    assert allowed_encoder(OPERATOR, name, Settings()) == name
    inside = f"open_clip:ViT-B-32/{tmp_path}/x.safetensors"
    assert allowed_encoder(ANALYST, inside, Settings(import_roots=[tmp_path])) == inside
