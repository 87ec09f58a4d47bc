"""Loading, and one view of every architecture's blocks and feed-forward networks."""

import pkgutil
import socket
import types
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import lander_lite
from lander_lite.awareness import score_awareness
from lander_lite.blocks import decoder_blocks, feed_forwards, fingerprint, input_device, unwrap
from lander_lite.config import LanderConfig, ModelConfig
from lander_lite.evaluation import evaluate
from lander_lite.layers import detect_layers
from lander_lite.model import LOADERS, load_configured, load_model
from lander_lite.neurons import categorize
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

SMALL = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_bfloat16_that_a_cpu_has_no_instructions_for_is_told(folder, monkeypatch, recwarn):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    load_model(folder, dtype="bfloat16")
    assert not [x for x in recwarn if "bfloat16" in str(x.message)]
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    load_model(folder)  # in float32
    assert not [x for x in recwarn if "bfloat16" in str(x.message)]
    with pytest.warns(UserWarning, match="without AMX or AVX512-BF16: float32 .* may be faster"):
        model, _ = load_model(folder, dtype="bfloat16")
    assert model.dtype == torch.bfloat16


def test_load_model_from_a_folder_gives_the_same_logits(model, folder):
    ids = torch.randint(4, 200, (2, 7))
    loaded, tokenizer = load_model(folder)
    assert not loaded.training and loaded.dtype == torch.float32
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    assert tokenizer.pad_token == "<pad>"
    half, _ = load_model(str(folder), dtype="bfloat16")
    assert half.dtype == torch.bfloat16


def test_load_model_uses_eos_where_there_is_no_pad_token(llama, tokenizer, tmp_path):
    bare = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>"
    )
    llama.save_pretrained(tmp_path)
    bare.save_pretrained(tmp_path)
    assert load_model(tmp_path)[1].pad_token == "</s>"


@pytest.mark.parametrize("name", ["/no/such/model", "./model", "data/models/nothing", "a/b/c"])
def test_a_missing_folder_is_an_error_before_any_hub_call(name, monkeypatch):
    monkeypatch.setattr(
        transformers.AutoTokenizer, "from_pretrained", lambda *a, **k: pytest.fail("asked the hub")
    )
    with pytest.raises(FileNotFoundError, match=name.removeprefix("./")):
        load_model(name)


def test_a_one_slash_path_under_a_folder_that_exists_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(FileNotFoundError, match="runs/model"):
        load_model("runs/model")
    with pytest.raises(FileNotFoundError, match="config.json"):
        load_model("runs")


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("tiny-blom", {}, "tiny-bloom"),
        ("some/model", {"load_in_4bit": True, "load_in_8bit": True}, "exclude"),
        ("some/model", {"dtype": "float33"}, "float33"),
    ],
)
def test_wrong_arguments_are_named_before_any_hub_call(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_model(name, **options)


def test_unknown_settings_are_refused_and_loaders_can_be_found():
    with pytest.raises(TypeError, match="load_in_2bit"):
        load_model("tiny-bloom", load_in_2bit=True)
    assert all(callable(pkgutil.resolve_name(loader)) for loader in LOADERS.values())


def test_random_weights_need_only_the_sizes(tokenizer, monkeypatch):
    settings = ModelConfig(
        "some/where", architecture={"model_type": "llama", **SMALL, "intermediate_size": 24}
    )
    monkeypatch.setattr("lander_lite.model._settings", lambda name: settings)
    monkeypatch.setattr("lander_lite.model._any_tokenizer", lambda *a: tokenizer)
    before = torch.get_rng_state()
    first, second = (load_model("big", random_weights=True)[0] for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert (feed_forwards(first)[1].d_ff, len(decoder_blocks(first))) == (24, 2)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters()))


def test_random_weights_take_the_sizes_of_the_settings(model, folder):
    own = {"model.random_weights": "true", "model.architecture.hidden_size": "64"}
    settings = LanderConfig.from_profile("tiny-bloom", **own).model
    assert load_configured(settings)[0].config.hidden_size == 64
    sized = replace(settings, name_or_path=str(folder))
    sized.architecture = {"num_hidden_layers": 1}
    found = load_configured(sized)[0].config
    assert found.num_hidden_layers == 1 and found.model_type == model.config.model_type


@pytest.mark.parametrize(
    "architecture, fault",
    [
        ({"model_type": "bloom", "hiden_size": 8}, r"bloom has no 'hiden_size' \(did you mean hid"),
        ({"model_type": "blom"}, r"model_type = 'blom' is unknown \(did you mean bloom\?\)"),
        ({}, "owner/name is not on this machine, and random weights need sizes"),
    ],
)
def test_sizes_that_random_weights_cannot_have_are_named(architecture, fault):
    wanted = ModelConfig("owner/name", random_weights=True, architecture=architecture)
    with pytest.raises((ValueError, FileNotFoundError), match=fault):
        load_configured(wanted)


def test_random_weights_make_no_hub_call(monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("asked the network"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    sizes = {"model_type": "llama", **SMALL, "intermediate_size": 24}
    settings = ModelConfig("owner/name", random_weights=True, architecture=sizes)
    assert load_configured(settings)[0].config.hidden_size == SMALL["hidden_size"]


def test_a_gpu_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device_map = 'cuda:0': torch sees no CUDA GPU here"):
        load_model("tiny-bloom", device_map="cuda:0")


def test_random_weights_from_a_folder_differ_from_the_saved_ones(model, folder):
    fresh, _ = load_model(folder, random_weights=True)
    assert fresh.config.hidden_size == model.config.hidden_size
    assert not torch.equal(feed_forwards(fresh)[0].up.weight, feed_forwards(model)[0].up.weight)


def test_feed_forward_view_computes_what_the_module_computes(model):
    x, residual = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    for ff in feed_forwards(model):
        if ff.gate is None:
            expected, got = ff.module(x, residual) - residual, ff.down(ff.act(ff.up(x)))
        else:
            expected, got = ff.module(x), ff.down(ff.act(ff.gate(x)) * ff.up(x))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
        assert (
            model.get_submodule(ff.name) is ff.module
            and getattr(ff.parent, ff.attribute) is ff.module
        )
        assert (
            tuple(ff.down.weight.shape)
            == (ff.d_model, ff.d_ff)
            == (32, 48 if ff.gate is not None else 128)
        )


def test_a_part_is_replaced_where_the_model_holds_it(model):
    ids, ff = torch.randint(4, 200, (1, 6)), feed_forwards(model)[2]
    before, down = model(ids).logits, ff.down

    class Twice(nn.Module):
        def forward(self, x):
            return 2 * down(x)

    ff.replace_part("down", Twice())
    assert not torch.allclose(model(ids).logits, before)
    ff.replace_part("down", down)
    assert torch.equal(model(ids).logits, before) and ff.down is down


def test_an_adapter_of_the_same_form_is_not_taken_for_the_feed_forward_network(model):
    expected = [ff.name for ff in feed_forwards(model)]
    for block in decoder_blocks(model):
        adapter = nn.Module()
        adapter.down, adapter.up = nn.Linear(32, 600), nn.Linear(600, 32)
        block.adapter = adapter
    assert [ff.name for ff in feed_forwards(model)] == expected


def test_wrappers_are_seen_through(model):
    ids, plain = torch.randint(4, 200, (1, 6)), fingerprint(model)
    tuned = peft.get_peft_model(model, peft.LoraConfig(target_modules="all-linear", r=2))
    holder = nn.Module()
    holder.base_model = tuned
    assert unwrap(holder) is model and fingerprint(holder) == plain
    assert decoder_blocks(holder)[3] is decoder_blocks(model)[3] and input_device(
        holder
    ) == torch.device("cpu")
    seen = []
    feed_forwards(holder)[1].down.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].shape)
    )
    tuned(ids)
    assert seen == [(1, 6, plain["d_ff"])]


def test_fingerprint_is_the_pretrained_models_not_the_dtypes(model, bloom, llama):
    plain = fingerprint(model)
    assert fingerprint(model.to(torch.bfloat16)) == plain == fingerprint(model.to(torch.float16))
    feed_forwards(model)[1].up.weight.data.add_(1.0)
    assert fingerprint(model) == plain, "tuned feed-forward weights leave it the same model"
    model.get_input_embeddings().weight.data.normal_()
    assert fingerprint(model)["weights_sha256"] != plain["weights_sha256"]
    assert fingerprint(bloom) != fingerprint(llama)


def test_every_public_name_can_be_imported():
    for name in lander_lite.__all__:
        assert not isinstance(getattr(lander_lite, name), types.ModuleType), name
    with pytest.raises(AttributeError, match="nothing"):
        _ = lander_lite.nothing


def test_no_file_at_the_top_is_named_like_a_public_function():
    """The import system would put the module where the function is; `data` is where a wheel puts
    the data folder."""
    package = Path(lander_lite.__file__).parent
    names = {module.name for module in pkgutil.iter_modules([str(package)])}
    assert {"config", "neurons", "tuner"} <= names
    assert not names & {*lander_lite.__all__, "data"}


# ---------------------------------------------------------------- what is no whole decoder
OTHERS = {
    "marian": (transformers.MarianConfig, {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1},
               transformers.MarianMTModel, "marian.*encoder-decoder"),
    "bert": (transformers.BertConfig, {"hidden_size": 16, "num_hidden_layers": 1},
             transformers.BertForMaskedLM, "bert.*reads both ways"),
    "mixtral": (transformers.MixtralConfig, {"hidden_size": 16, "num_hidden_layers": 1,
                "num_key_value_heads": 2, "num_local_experts": 2, "intermediate_size": 24},
                transformers.MixtralForCausalLM, "mixture of experts"),
    "mamba": (transformers.MambaConfig, {"hidden_size": 16, "num_hidden_layers": 1},
              transformers.MambaForCausalLM, "no feed-forward network"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_of_models_are_refused_in_one_sentence(tmp_path, tokenizer, name):
    config, sizes, kind, message = OTHERS[name]
    heads = {} if name == "mamba" else {"num_attention_heads": 2}
    kind(config(vocab_size=300, pad_token_id=3, **heads, **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load_model(tmp_path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_with_missing_tensors_is_refused_by_name(model, tokenizer, tmp_path):
    """transformers would fill them with random numbers and go on."""
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    name = next(key for key in tensors if "mlp" in key)
    whole = dict(tensors)
    del tensors[name]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"1 missing tensors, first .*{name.split('.')[-1]}"):
        load_model(tmp_path)
    save_file(whole, path, {"format": "pt"})
    load_model(tmp_path)


# ---------------------------------------------------------------- offloaded weights
@pytest.mark.parametrize("whole", [True, False])
def test_offloaded_weights_measure_the_same_and_are_not_tuned(folder, corpus, whole):
    """The disk stands for the CPU of a machine with a GPU: accelerate brings both in the same
    way."""
    plain, tokenizer = load_model(folder)
    places = {"": "disk"}
    if not whole:
        last = feed_forwards(plain)[3].name.rpartition(".")[0]
        names = [name for name, x in plain.named_modules() if name and not list(x.children())]
        places = {name: "disk" if name.startswith(last) else "cpu" for name in names}
    offloaded, _ = load_model(folder, device_map=places)
    assert "meta" in {p.device.type for p in offloaded.parameters()}
    assert input_device(offloaded).type == "cpu"
    found = {}
    for model in (plain, offloaded):
        layers = detect_layers(model, tokenizer, corpus, ["en-de"], k=2, progress=False)
        scores = score_awareness(model, tokenizer, corpus, ["en", "de"], [1, 3], progress=False)
        how = {"max_new_tokens": 4, "bootstrap": 0, "keep_hypotheses": True}
        texts = evaluate(model, tokenizer, corpus, ["en-de"], **how)["en-de"]["hypotheses"]
        found[model] = [layers.delta.tolist(), scores.values.tolist(), texts]
    assert found[plain] == found[offloaded]
    sets = categorize(scores, epsilon=0.8)
    with pytest.raises(ValueError, match="3.mlp is offloaded .*must fit" if not whole else "must"):
        get_lander_model(offloaded, LanderTuningConfig(sets))
    assert not any(".lander_" in name for name, _ in offloaded.named_parameters())
