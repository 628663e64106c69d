"""A LLaVA with random weights in a local folder: the real classes, processor and chat template, a megabyte in all."""

from __future__ import annotations

from pathlib import Path

from services.kit.torchvision_ops import mend_torchvision

SIDE, PATCH = 56, 14
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<image>"]
WORDS = ["cat,", "clock,", "stripe,", "sky,", "letter,", "moon,", "river,", "red", "round", "blue", "of", "a", "and"]
CHAT = (
    "{% for message in messages %}{% for one in message['content'] %}"
    "{% if one['type'] == 'image' %}<image> {% else %}{{ one['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


def write_tiny_vlm(folder: Path, *, seed: int = 0) -> Path:
    """Write the model; its words end with commas, so that even random weights say something that can be cut up."""
    mend_torchvision()
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    if (folder / "config.json").is_file():
        return folder
    known = {word: place for place, word in enumerate([*SPECIAL, *WORDS])}
    backend = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    processor = LlavaProcessor(
        image_processor=pictures, tokenizer=tokenizer, patch_size=PATCH, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=CHAT, image_token="<image>",
    )  # fmt: skip
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=SIDE, patch_size=PATCH, projection_dim=16, **sizes),
        text_config=LlamaConfig(
            vocab_size=len(known), num_key_value_heads=4, max_position_embeddings=1024, pad_token_id=0, bos_token_id=2,
            eos_token_id=3, initializer_range=0.6, **sizes,
        ),
        image_token_index=known["<image>"], vision_feature_layer=-1,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
