"""GGUF files: a tiny one, written here, is read as the model it was made from, and can be saved."""

import copy
import hashlib

import gguf
import pytest
import torch
from conftest import SIZES, random_model
from transformers import Qwen2Config

from lander_lite import load_model
from lander_lite.model import model_source
from lander_lite.scale import real

LAYERS = 2


@pytest.fixture(scope="module")
def small():
    sizes = {**SIZES, "vocab_size": 259, "num_hidden_layers": LAYERS, "num_key_value_heads": 4}
    return random_model(Qwen2Config(**sizes, intermediate_size=64, tie_word_embeddings=True))


@pytest.fixture(scope="module")
def path(small, tmp_path_factory):
    """`small` as a GGUF file with a tokenizer of single bytes."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    config, writer = small.config, gguf.GGUFWriter(path, "qwen2")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    letters = [chr(number) for number in range(256, 256 + 256)]
    writer.add_token_list([*letters, "<eos>", "<pad>", letters[0] + letters[1]])
    writer.add_token_merges([f"{letters[0]} {letters[1]}"])
    writer.add_eos_token_id(256)
    writer.add_pad_token_id(257)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, LAYERS)
    for name, tensor in small.state_dict().items():
        if name != "lm_head.weight":
            found = names.get_name(name, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(found, tensor.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@torch.no_grad()
def same_logits(first, second):
    ids = torch.arange(256).view(8, 32)
    return torch.allclose(first(ids).logits, second(ids).logits, atol=1e-5)


def test_a_file_and_a_folder_with_its_name_give_a_plain_model(small, path, tmp_path):
    model, tokenizer = load_model(path)
    assert same_logits(small, model) and model.dtype == torch.float32
    other, _ = load_model(path.parent, gguf_file=path.name)
    assert same_logits(small, other)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_model(tmp_path)
    assert same_logits(small, again) and not hasattr(again.config, "quantization_config")


@pytest.mark.parametrize(
    "given, options, error, fault",
    [
        ("none.gguf", {}, FileNotFoundError, "no such file or folder: none.gguf"),
        (None, {"gguf_file": "other.gguf"}, FileNotFoundError, "holds no other.gguf"),
        (None, {"gguf_file": "small.gguf", "load_in_4bit": True}, ValueError, "exclude each other"),
    ],
)
def test_what_cannot_be_read_is_named(path, given, options, error, fault):
    with pytest.raises(error, match=fault):
        load_model(given or path.parent, **options)


def test_without_the_package_the_extra_is_named(path, monkeypatch):
    monkeypatch.setattr("lander_lite.model.find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r'small.gguf: reading GGUF needs pip install -e "\.\[gguf'
    ):
        load_model(path)


def test_parts_are_joined_checked_and_found_by_name(small, path, tmp_path, monkeypatch):
    data, target = path.read_bytes(), tmp_path / "share" / "small-1m"
    parts = [tmp_path / "a.part00", tmp_path / "a.part01"]
    parts[0].write_bytes(data[:1000])
    parts[1].write_bytes(data[1000:])
    with pytest.raises(ValueError, match="a.part00, .*a.part01: SHA-256 .*, expected 0; install"):
        real.install(parts, target, "0")
    assert not target.exists()
    real.install(parts, target, hashlib.sha256(data).hexdigest())
    monkeypatch.setattr("lander_lite.model.INSTALLED", target.parent)
    assert model_source("owner/small-1m") == model_source("small-1m") == str(target)
    model, _ = load_model("owner/small-1m")
    rounded = copy.deepcopy(small)
    for weights in rounded.parameters():
        weights.data = weights.data.bfloat16().float()
    assert same_logits(model, rounded) and not same_logits(model, small)


def test_a_gated_model_that_is_not_there_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("lander_lite.model.INSTALLED", tmp_path)
    with pytest.raises(FileNotFoundError, match="hf auth login.; in a clone, `make real` installs"):
        load_model("gemma-3-270m")
