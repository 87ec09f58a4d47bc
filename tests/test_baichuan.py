"""Baichuan2's files on Llama's classes, against a plain reimplementation of its decoder."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from lander_lite import LanderTuningConfig, get_lander_model, load_model, translate
from lander_lite.scale.baichuan import BaichuanTokenizer

SENTENCES = [
    "the cat sleeps in the house",
    "der Hund schläft im Haus",
    "eine Katze frisst den Fisch",
    "猫在房子里睡觉",
    "the dog eats a fish",
    "a cat and a dog",
    "das Haus ist alt",
    "狗吃鱼",
] * 4
D, HEADS, LAYERS, FF, EPS = 32, 4, 2, 48, 1e-6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small checkpoint with the names, shapes and settings of the published one."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("baichuan")
    (folder / "text").write_text("\n".join(SENTENCES), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text"),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    words = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model")).get_piece_size()
    torch.manual_seed(0)
    weights = {
        "model.embed_tokens.weight": torch.randn(words, D),
        "model.norm.weight": 1 + 0.1 * torch.randn(D),
        "lm_head.weight": 3 * torch.randn(words, D),
    }
    for i in range(LAYERS):
        shapes = {
            "self_attn.W_pack": (3 * D, D),
            "self_attn.o_proj": (D, D),
            "mlp.gate_proj": (FF, D),
            "mlp.up_proj": (FF, D),
            "mlp.down_proj": (D, FF),
        }
        weights |= {
            f"model.layers.{i}.{name}.weight": torch.randn(shape) / shape[1] ** 0.5
            for name, shape in shapes.items()
        }
        weights |= {
            f"model.layers.{i}.{name}.weight": 1 + 0.1 * torch.randn(D)
            for name in ("input_layernorm", "post_attention_layernorm")
        }
        weights[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = 1 / 10000 ** (
            torch.arange(0, D // HEADS, 2) / (D // HEADS)
        )
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "baichuan",
                "architectures": ["BaichuanForCausalLM"],
                "vocab_size": words,
                "hidden_size": D,
                "intermediate_size": FF,
                "num_hidden_layers": LAYERS,
                "num_attention_heads": HEADS,
                "max_position_embeddings": 128,
                "model_max_length": 128,
                "rms_norm_eps": EPS,
                "hidden_act": "silu",
                "pad_token_id": 0,
                "bos_token_id": 1,
                "eos_token_id": 2,
                "tie_word_embeddings": False,
                "auto_map": {
                    "AutoConfig": "configuration_baichuan.BaichuanConfig",
                    "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
                },
            }
        )
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "BaichuanTokenizer",
                "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]},
                "add_bos_token": False,
                "add_eos_token": False,
                "bos_token": "<s>",
                "eos_token": "</s>",
                "unk_token": "<unk>",
                "pad_token": "<unk>",
                "clean_up_tokenization_spaces": False,
                "use_fast": False,
            }
        )
    )
    (folder / "modeling_baichuan.py").write_text("raise RuntimeError('remote code ran')\n")
    return folder


def plainly(folder, ids, normalised=True):
    """Logits of the published decoder, from the checkpoint's own tensors."""
    w, n, half = load_file(folder / "model.safetensors"), len(ids), D // HEADS // 2

    def norm(x, name):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * w[name + ".weight"]

    def rotate(x):  # [head, token, feature]
        angle = torch.outer(
            torch.arange(n).float(), 1 / 10000 ** (torch.arange(0, 2 * half, 2) / (2 * half))
        ).repeat(1, 2)
        return x * angle.cos() + torch.cat([-x[..., half:], x[..., :half]], -1) * angle.sin()

    x = w["model.embed_tokens.weight"][ids]
    for i in range(LAYERS):
        own = f"model.layers.{i}."
        packed = norm(x, own + "input_layernorm") @ w[own + "self_attn.W_pack.weight"].T
        q, k, v = (part.view(n, HEADS, -1).transpose(0, 1) for part in packed.split(D, dim=-1))
        scores = rotate(q) @ rotate(k).transpose(1, 2) / math.sqrt(D // HEADS) + torch.full(
            (n, n), -math.inf
        ).triu(1)
        x = (
            x
            + (scores.softmax(-1) @ v).transpose(0, 1).reshape(n, D)
            @ w[own + "self_attn.o_proj.weight"].T
        )
        y = norm(x, own + "post_attention_layernorm")
        x = (
            x
            + (
                F.silu(y @ w[own + "mlp.gate_proj.weight"].T)
                * (y @ w[own + "mlp.up_proj.weight"].T)
            )
            @ w[own + "mlp.down_proj.weight"].T
        )
    head = w["lm_head.weight"]
    return (
        norm(x, "model.norm") @ (head / head.norm(dim=-1, keepdim=True) if normalised else head).T
    )


def test_the_logits_are_those_of_the_published_decoder_and_no_remote_code_runs(folder):
    model, tokenizer = load_model(folder)
    assert type(model) is transformers.LlamaForCausalLM and type(tokenizer) is BaichuanTokenizer
    ids = tokenizer(SENTENCES[0])["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(
            model(torch.tensor([ids])).logits[0], plainly(folder, ids), atol=1e-4, rtol=1e-4
        )
    assert not torch.allclose(
        plainly(folder, ids), plainly(folder, ids, normalised=False), atol=0.1
    )


def test_the_first_generations_head_is_not_normalised(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {
        "architectures": ["BaiChuanForCausalLM"]
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, _ = load_model(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            model(torch.tensor([[5, 9, 300]])).logits[0],
            plainly(folder, [5, 9, 300], False),
            atol=1e-4,
            rtol=1e-4,
        )
    del config["max_position_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="ALiBi"):
        load_model(tmp_path)


def test_the_tokenizer_is_sentencepiece_with_bytes(folder):
    import sentencepiece

    _, tokenizer = load_model(folder)
    plain = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    for text in (*SENTENCES[:8], "  two spaces ", "日本 🙂 unseen", "line\nbreak"):
        ids = tokenizer(text)["input_ids"]
        assert ids == plain.encode(text) and tokenizer.decode(ids) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
    batch = tokenizer(["the cat", "a"], padding=True, return_tensors="pt")
    assert batch["attention_mask"].sum(1).tolist() == [
        len(plain.encode("the cat")),
        len(plain.encode("a")),
    ]


def test_it_is_a_model_as_any_other_and_saves_as_llama(folder, tmp_path):
    model, tokenizer = load_model(folder)
    ids = torch.tensor([tokenizer(SENTENCES[3])["input_ids"]])
    with torch.no_grad():
        before = model(ids).logits
    from lander_helpers import make_sets

    lander = get_lander_model(
        model, LanderTuningConfig(make_sets(model, layers=(1,)), "none")
    ).set_pair("en-de")
    assert len(translate(lander, tokenizer, ["the cat"], "en-de", max_new_tokens=3)) == 1
    lander.merge_and_unload().save_pretrained(tmp_path / "llama")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "llama")
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, before, atol=1e-5, rtol=1e-5)
    assert type(again) is transformers.LlamaForCausalLM
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    assert (
        BaichuanTokenizer.from_pretrained(tmp_path / "tokenizer")("the cat")["input_ids"]
        == tokenizer("the cat")["input_ids"]
    )
