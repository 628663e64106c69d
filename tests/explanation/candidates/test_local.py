"""The adapter of transformers on a LLaVA with random weights, and folders that are refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from contracts.labels import VisionModelUnavailable
from services.explanation.candidates.local import TransformersVision
from services.explanation.candidates.port import LONGEST_ANSWER
from tests.explanation.candidates.tiny_vlm import CHAT, write_tiny_vlm

PROMPT = "red round and a"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_vlm(tmp_path_factory.mktemp("vlm") / "tiny")


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copied")


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8))


def reference(folder, prompt: str, pictures: list[Image.Image]) -> str:
    """The same answer by the library's own classes, one greedy token at a time, without `generate`."""
    import torch
    from transformers import CLIPImageProcessor, LlavaForConditionalGeneration, PreTrainedTokenizerFast

    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    eye = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    pixels = eye(pictures, return_tensors="pt")["pixel_values"]
    ids = tokenizer(" ".join(["<image>"] * 16 * len(pictures)) + " " + prompt, return_tensors="pt")["input_ids"]
    said, given = [], {"input_ids": ids, "pixel_values": pixels}
    with torch.inference_mode():
        while len(said) < LONGEST_ANSWER and said[-1:] != [3]:
            out = model(**given, use_cache=True)
            said.append(int(out.logits[0, -1].argmax()))
            given = {"input_ids": torch.tensor([said[-1:]]), "past_key_values": out.past_key_values}
    return tokenizer.decode(said, skip_special_tokens=True)


@pytest.mark.parametrize("grids", [1, 2])
def test_the_answer_is_that_of_the_model_s_own_greedy_steps(folder, grids):
    pictures = [noise(seed) for seed in range(grids)]
    assert "image" in CHAT
    assert TransformersVision(folder).answer(PROMPT, pictures) == reference(folder, PROMPT, pictures)


def test_the_answer_depends_on_pictures_and_prompt_and_on_nothing_else(folder):
    vision = TransformersVision(folder)
    answers = {vision.answer(PROMPT, [noise(seed)]) for seed in range(4)}
    assert len(answers) > 1
    assert vision.answer("moon, of", [noise(0)]) != vision.answer(PROMPT, [noise(0)])
    assert vision.answer(PROMPT, [noise(0)]) == TransformersVision(folder).answer(PROMPT, [noise(0)])


def test_the_fingerprint_is_of_bytes_and_not_of_places(folder, copied):
    assert TransformersVision(copied).fingerprint == TransformersVision(folder).fingerprint
    template = copied / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert TransformersVision(copied).fingerprint != TransformersVision(folder).fingerprint


def test_a_folder_that_is_no_model_is_refused(copied, tmp_path):
    with pytest.raises(VisionModelUnavailable, match=r"XSYS_VLM_FOLDER: nowhere has no config\.json"):
        TransformersVision(tmp_path / "nowhere")
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(VisionModelUnavailable, match="no weights as safetensors"):
        TransformersVision(copied)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_code_of_the_folder_is_never_run(copied, name):
    (copied / "own.py").write_text("raise SystemExit('this was run')")
    config = json.loads((copied / name).read_text())
    (copied / name).write_text(json.dumps({**config, "auto_map": {"AutoModelForImageTextToText": "own.Model"}}))
    with pytest.raises(VisionModelUnavailable, match="code of its own"):
        TransformersVision(copied)


def test_damaged_weights_and_a_missing_template_are_typed_refusals(copied, folder):
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(VisionModelUnavailable, match="no chat template"):
        TransformersVision(copied).answer(PROMPT, [noise(0)])
    shutil.copy(folder / "chat_template.jinja", copied)
    (copied / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(VisionModelUnavailable, match="cannot be read"):
        TransformersVision(copied).answer(PROMPT, [noise(0)])


def test_weights_that_are_not_all_there_are_not_drawn_at_random(copied):
    from safetensors.torch import load_file, save_file

    weights = load_file(copied / "model.safetensors")
    save_file({name: one for name, one in weights.items() if "projector" not in name}, copied / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    with pytest.raises(VisionModelUnavailable, match=r"lacks weights: .*projector"):
        TransformersVision(copied).answer(PROMPT, [noise(0)])


def test_a_template_that_fails_is_a_typed_refusal(copied):
    (copied / "chat_template.jinja").write_text("{{ raise_exception('no pictures here') }}")
    with pytest.raises(VisionModelUnavailable, match="no pictures here"):
        TransformersVision(copied).answer(PROMPT, [noise(0)])
