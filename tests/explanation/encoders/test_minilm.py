import numpy as np
import torch

from services.explanation.encoders.minilm import MiniLM
from services.kit.packaged import minilm_folder
from services.kit.torchvision_ops import mend_torchvision

TEXTS = ["a cat", "a palace beside a lake, photographed at dusk", "x", "word " * 300]


def test_the_sentence_encoder_equals_the_transformers_librarys():
    mend_torchvision()
    from safetensors.torch import load_file
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    folder = minilm_folder()
    reference = BertModel(BertConfig.from_json_file(str(folder / "config.json")), add_pooling_layer=False).eval()
    reference.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    ours = MiniLM(folder)
    tokenizer, model = ours._parts()
    for text in TEXTS[:3]:
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.inference_mode():
            assert torch.allclose(model(ids), reference(input_ids=ids).last_hidden_state, atol=1e-5)


def test_a_text_alone_and_among_others_has_one_embedding():
    ours = MiniLM(minilm_folder())
    together = ours.encode(TEXTS)
    alone = np.concatenate([ours.encode([text]) for text in TEXTS])
    assert np.allclose(together, alone, atol=1e-5)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert ours.truncates(TEXTS) == [False, False, False, True]
