"""plan.py, footprint.py: counts against real models, bytes against real tensors and against what
autograd saves, operations against those that torch counts."""

import copy
import functools
import json

import pytest
import torch
import torch.nn.functional as F
from test_families import FAMILIES
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from lander_lite.cli import main
from lander_lite.config import LanderConfig
from lander_lite.head import LOGITS
from lander_lite.layers import LayerScores
from lander_lite.model import load_model
from lander_lite.reproduction.baselines import count_trainable
from lander_lite.reproduction.methods import METHODS, TUNED
from lander_lite.scale.footprint import FUSED_ATTENTION_FLOPS, GpuKernels
from lander_lite.scale.plan import (
    GPUS,
    MARGIN,
    Lander,
    changed,
    changes,
    even_sets,
    meta_model,
    plan,
)
from lander_lite.training.optimizer import new_optimizer, plain_tensors

KNOWN = [METHODS[name] for name in TUNED if name != "xie"]  # the size of its sets is unknown
LANDER = METHODS["lander-corrected"]

MIDDLE = {
    "bloom": {
        "model_type": "bloom",
        "num_hidden_layers": 12,
        "hidden_size": 512,
        "num_attention_heads": 8,
        "vocab_size": 8000,
    },
    "llama": {
        "model_type": "llama",
        "num_hidden_layers": 12,
        "hidden_size": 512,
        "intermediate_size": 1376,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 8000,
        "tie_word_embeddings": False,
    },
}
BATCH, LENGTH = 4, 64


def config(name, **overrides) -> LanderConfig:
    """A profile, or a model of middle size, with a small batch."""
    found = LanderConfig.from_profile(
        "tiny-bloom" if name in MIDDLE else name,
        **{"finetune.batch_size": BATCH, "finetune.max_length": LENGTH, **overrides},
    )
    found.model.architecture = MIDDLE.get(name, found.model.architecture)
    return found


@functools.lru_cache
def made(architecture: str, dtype) -> nn.Module:
    sizes = json.loads(architecture)
    with torch.random.fork_rng(devices=[]):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(sizes.pop("model_type"), **sizes), dtype=dtype
        )


def real_model(c: LanderConfig, dtype=torch.float32) -> nn.Module:
    return copy.deepcopy(made(json.dumps(c.model.architecture), dtype))


def tuned_model(c: LanderConfig, method: str, layers, dtype=torch.float32) -> nn.Module:
    model = real_model(c, dtype)
    tuned = METHODS[method].build(model, None, even_sets(model, c, layers), 0).train()
    if hasattr(tuned, "set_pair"):
        tuned.set_pair("en-de")
    return tuned


def batch():
    ids = torch.randint(4, 500, (BATCH, LENGTH), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, -5:] = 0
    return ids, mask


def loss_of(model) -> torch.Tensor:
    ids, mask = batch()
    n = LENGTH // 2  # the share of positions with logits that the plan assumes
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=n).logits
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, -n:].flatten())


def saved_bytes(model) -> int:
    """What autograd keeps for backward: every storage once, without the model's own tensors."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = (
            tensor.untyped_storage()
        )  # held, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(model)
    assert loss.requires_grad
    return sum(storage.nbytes() for address, storage in kept.items() if address not in own)


@pytest.mark.parametrize(
    "name, count",
    [
        ("bloom-7b1", 7_069_016_064),
        ("bloom-560m", 559_214_592),
        ("baichuan2-7b", 7_505_973_248),
        ("llama-3.1-8b", 8_030_261_248),
    ],
)
def test_parameters_are_those_published(name, count):
    found = plan(LanderConfig.from_profile(name), METHODS["full"])
    assert found.parameters == found.trained == found.active == count
    assert {p.device.type for p in meta_model(LanderConfig.from_profile(name)).parameters()} == {
        "meta"
    }


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-llama"])
def test_counts_are_those_of_the_real_model_for_every_method(name):
    model, _ = load_model(name)
    c = config(name)
    for method in KNOWN:
        tuned = method.build(
            copy.deepcopy(model), None, even_sets(model, c, [2, 5]), c.finetune.seed
        )
        found = plan(c, method, [2, 5])
        assert found.trained == count_trainable(tuned), method.name
        assert found.parameters == sum(p.numel() for p in model.parameters())


def test_published_sizes_of_bloom_7b1():
    c = LanderConfig.from_profile("bloom-7b1")
    assert plan(c, METHODS["lora"]).trained == 31_457_280  # 31M in LANDeRMT's Table 1
    assert plan(c, METHODS["layers-block"]).trained == 805_519_360  # its 805M
    assert plan(c, LANDER).method is LANDER


def test_without_a_method_it_plans_what_finetune_trains():
    c = config("tiny-bloom", **{"tuning.routing": "corrected"})
    found, same = plan(c, None, [2, 5]), plan(c, LANDER, [2, 5])
    assert found.method == Lander(c.tuning)
    assert (found.tuning, found.scoring, found.flops) == (same.tuning, same.scoring, same.flops)
    learned = plan(config("tiny-bloom"), None, [2, 5])
    gates = 2 * (learned.config.model.architecture["hidden_size"] + 1)
    assert learned.trained == found.trained + gates


@pytest.mark.parametrize("dtype, item", [(None, 4), ("float32", 4), ("bfloat16", 2)])
def test_the_type_of_the_slices_is_planned_as_it_is_trained(dtype, item):
    c = config("tiny-bloom", **{"model.dtype": "bfloat16", "tuning.dtype": dtype})
    found = plan(c, None, [2, 5])
    assert found.tuning["trained weights"] == item * found.trained
    assert found.tuning["optimiser states"] == 2 * item * found.trained
    with pytest.raises(ValueError, match="no plan for method 'zero-shot'"):
        plan(c, METHODS["zero-shot"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["full", "lander-none", "lander-learned", "lora", "adapter"])
def test_static_bytes_are_those_of_real_tensors_after_a_step(method, dtype):
    c = config("tiny-bloom", **{"model.dtype": dtype})
    tuned = tuned_model(c, method, [2, 5], getattr(torch, dtype))
    optimizer = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad])
    found = plan(c, METHODS[method], [2, 5])
    loss_of(tuned).backward()

    def total(tensors):
        return sum(t.numel() * t.element_size() for t in tensors)

    assert found.tuning["frozen weights"] == total(
        p for p in tuned.parameters() if not p.requires_grad
    )
    assert found.tuning["trained weights"] == total(
        p for p in tuned.parameters() if p.requires_grad
    )
    assert found.tuning["gradients"] == total(
        p.grad for p in tuned.parameters() if p.grad is not None
    )
    assert found.active == sum(p.grad.numel() for p in tuned.parameters() if p.grad is not None)
    for pair in (
        c.corpus.pairs[::2] if hasattr(tuned, "set_pair") else ()
    ):  # every language once: all slices have states
        tuned.set_pair(pair)
        loss_of(tuned).backward()
    optimizer.step()
    states = [
        value for state in optimizer.state.values() for key, value in state.items() if key != "step"
    ]
    assert found.tuning["optimiser states"] == total(states)


@pytest.mark.parametrize(
    "name, method",
    [
        *(
            (name, method)
            for name in ("tiny-bloom", "tiny-llama")
            for method in (
                "full",
                "lander-none",
                "lander-corrected",
                "lander-learned",
                "layers",
                "layers-block",
                "adapter",
                "ia3",
            )
        ),
        *((name, method) for name in MIDDLE for method in ("full", "lander-corrected")),
    ],
)
def test_activations_and_logits_are_what_autograd_saves(name, method):
    layers = [2, 5, 6]  # nothing below the lowest is kept
    c = config(name)
    found = plan(c, METHODS[method], layers)
    assert found.tuning["activations"] + found.tuning["logits"] == pytest.approx(
        saved_bytes(tuned_model(c, method, layers)), rel=0.03
    )


@pytest.mark.parametrize("method", ["full", "lander-corrected"])
@pytest.mark.parametrize(
    "dtype, mixed", [("bfloat16", "no"), ("bfloat16", "bf16"), ("float32", "bf16")]
)
def test_half_precision_keeps_half_and_autocast_its_copies_of_weights(method, dtype, mixed):
    c = config("llama", **{"model.dtype": dtype, "finetune.mixed_precision": mixed})
    found, tuned = (
        plan(c, METHODS[method], [2, 5, 6]),
        tuned_model(c, method, [2, 5, 6], getattr(torch, dtype)),
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed == "bf16"):
        saved = saved_bytes(tuned)
    assert found.tuning["activations"] + found.tuning["logits"] == pytest.approx(saved, rel=0.1)


def test_lora_keeps_dropouts_mask_which_the_cpu_stores_wider():
    c = config("bloom")
    tuned, found = tuned_model(c, "lora", [2]), plan(c, METHODS["lora"], [2])
    inputs = sum(m.in_features for m in tuned.modules() if getattr(m, "lora_A", None))
    wider = 3 * inputs * BATCH * LENGTH  # float32 in place of one byte
    assert found.tuning["activations"] + found.tuning["logits"] + wider == pytest.approx(
        saved_bytes(tuned), rel=0.03
    )


def test_checkpointing_keeps_the_inputs_of_blocks():
    c, checkpointing = config("bloom"), {"finetune.gradient_checkpointing": True}
    c.model.architecture = {**c.model.architecture, "vocab_size": 800}
    found, without = plan(changed(c, checkpointing), METHODS["full"]), plan(c, METHODS["full"])
    inputs = 12 * BATCH * LENGTH * 512 * 4
    outside = found.tuning["activations"] - inputs
    norms = (
        2 * BATCH * LENGTH * (512 + 2) * 4
    )  # the embeddings' and the last: input, mean, deviation
    head = BATCH * LENGTH // 2 * 512 * 4  # its input, where there are logits
    ids = BATCH * LENGTH * 8
    assert outside == norms + head + ids
    one = found.tuning["temporary"] + found.tuning["logits"]  # they are gone before it
    assert found.tuning["temporary"] > 2 * found.tuning["logits"]
    assert without.tuning["activations"] == pytest.approx(12 * one + outside)
    assert found.flops["tuning"] > 1.2 * without.flops["tuning"]


def test_scoring_keeps_what_autograd_saves():
    c = config("bloom", **{"awareness.batch_size": BATCH, "corpus.max_length": LENGTH})
    model, layers = real_model(c).requires_grad_(False), [3, 7]
    held = {}

    def start(name):
        def hook(module, args):
            held[name] = args[0] if args[0].requires_grad else args[0].detach().requires_grad_(True)
            return held[name]

        return hook

    for layer in layers:
        model.transformer.h[layer].mlp.dense_4h_to_h.register_forward_pre_hook(start(layer))
    ids, _ = batch()
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.untyped_storage().data_ptr(), t.untyped_storage()) and t,
        lambda t: t,
    ):
        F.cross_entropy(model(ids, use_cache=False).logits.flatten(0, 1), ids.flatten())
    kept |= {h.untyped_storage().data_ptr(): h.untyped_storage() for h in held.values()}
    saved = sum(storage.nbytes() for address, storage in kept.items() if address not in own)
    found = plan(c, LANDER, layers)
    assert found.scoring["activations"] + found.scoring["logits"] == pytest.approx(saved, rel=0.05)
    assert found.scoring["scoring accumulators"] == 6 * 2 * 2048 * 4
    assert plan(c, METHODS["lora"]).scoring == {}


@pytest.mark.parametrize("name", MIDDLE)
def test_flops_are_those_that_torch_counts(name):
    c = config(name)
    for method in ("full", "layers", "lander-none"):
        tuned = tuned_model(c, method, [2, 5])
        with FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION_FLOPS) as counter:
            loss_of(tuned).backward()
        assert plan(c, METHODS[method], [2, 5]).flops["tuning"] == pytest.approx(
            counter.get_total_flops(), rel=0.001
        ), method


# ---------------------------------------------------------------- every family
def family_config(name: str, **overrides) -> LanderConfig:
    """A small model of a family."""
    family, sizes, _, _ = FAMILIES[name]
    c = config("tiny-bloom", **{"layers.k": 2, **overrides})
    c.model.architecture = {"model_type": family.model_type, **sizes}
    return c


@pytest.mark.parametrize("method", ["full", "lander-corrected", "lander-learned", "layers", "lora"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_keeps_and_computes_what_the_plan_says(name, method):
    c, layers = family_config(name), [1, 3]
    found, tuned = plan(c, METHODS[method], layers), tuned_model(c, method, layers)
    assert found.trained == count_trainable(tuned)
    with GpuKernels():  # dropout's masks of a byte each
        saved = saved_bytes(tuned)
        with FlopCounterMode(display=False, custom_mapping=FUSED_ATTENTION_FLOPS) as counter:
            loss_of(tuned).backward()
    assert found.tuning["activations"] + found.tuning["logits"] == pytest.approx(saved, rel=0.001)
    assert found.flops["tuning"] == pytest.approx(counter.get_total_flops(), rel=0.001)
    assert found.active == sum(p.grad.numel() for p in tuned.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_planned_with_checkpointing_and_mixed_precision(name):
    settings = {"finetune.gradient_checkpointing": True, "finetune.mixed_precision": "bf16"}
    c = family_config(name, **settings)
    found, without = plan(c), plan(changed(c, {"finetune.gradient_checkpointing": False}))
    assert 0 < found.tuning["activations"] < without.tuning["activations"]
    assert found.flops["tuning"] > without.flops["tuning"]
    assert found.peak > 0 and f"{'peak':24}" in found.table()


def test_frozen_weights_shrink_with_quantisation_and_refuse_to_be_trained():
    c = LanderConfig.from_profile("bloom-7b1", **{"model.load_in_4bit": True})
    half, small = (
        plan(x, METHODS["lora"]).tuning["frozen weights"]
        for x in (LanderConfig.from_profile("bloom-7b1"), c)
    )
    blocks = 30 * 12 * 4096**2  # elements of the blocks' matrices
    assert half - small == pytest.approx(blocks * (2 - 0.5 - 4 / 64))
    for method in (m for m in KNOWN if not m.quantisable):
        with pytest.raises(ValueError, match="quantised"):
            plan(c, method)


def test_the_selected_layers_stay_quantised_beside_their_tuned_copies():
    small = plan(LanderConfig.from_profile("bloom-7b1", **{"model.load_in_4bit": True}), LANDER)
    half = plan(LanderConfig.from_profile("bloom-7b1"), LANDER)
    blocks = 30 * 12 * 4096**2
    assert half.tuning["frozen weights"] - small.tuning["frozen weights"] == pytest.approx(
        blocks * (2 - 0.5 - 4 / 64)
    )
    assert small.scoring["frozen weights"] == small.tuning["frozen weights"]
    assert small.tuning["trained weights"] == half.tuning["trained weights"]


def test_a_gpu_fits_with_the_margin_or_the_table_says_what_to_change():
    c = LanderConfig.from_profile("bloom-7b1")
    found = plan(c, METHODS["full"])
    assert found.fits("H100") and not found.fits("T4")
    assert found.short("T4") == pytest.approx(found.peak - (1 - MARGIN) * GPUS["T4"] * 1e9)
    text = found.table("T4", METHODS)
    assert (
        "H200         141 GB   fits" in text
        and f"T4 is {found.short('T4') / 1e9:.1f} GB short" in text
        and "--method lora" in text
        and "--method lander-corrected" in text
    )
    assert "--method" not in found.table("T4")
    assert "after each change" not in plan(LanderConfig.from_profile("tiny-bloom")).table()
    offered = {
        key
        for _, change in changes(LanderConfig.from_profile("bloom-560m"), METHODS["lora"], METHODS)
        for key in change
    }
    assert offered == {
        "model.load_in_4bit",
        "awareness.batch_size",
        "corpus.max_length",
        "finetune.batch_size",
        "finetune.accumulation",
        "finetune.max_length",
        "finetune.gradient_checkpointing",
        "finetune.optimizer",
    }
    assert (
        changed(c, {"finetune.batch_size": 1}).finetune.batch_size == 1
        and c.finetune.batch_size == 8
    )
    with pytest.raises(ValueError, match="did you mean H100"):
        found.table("H10")


def test_lower_layers_and_more_of_them_take_more():
    c = config("bloom")
    peaks = [plan(c, LANDER, layers).peak for layers in ([9], [1], [1, 9])]
    assert peaks == sorted(peaks)


def test_bloom_7b1_fits_24_gb_with_bfloat16_slices_and_8_bits():
    c = LanderConfig.from_profile("bloom-7b1")
    low = {"finetune.optimizer": "adamw-8bit", "tuning.dtype": "bfloat16"}
    found, small = plan(c), plan(changed(c, low))
    assert not found.fits("RTX 4090") and small.fits("RTX 4090")
    assert f"{small.peak / 1e9:8.1f} GB   --set finetune.optimizer=adamw-8bit" in found.table(
        "RTX 4090"
    )
    for kind, share in (("trained weights", 0.5), ("gradients", 0.5), ("optimiser states", 0.254)):
        assert small.tuning[kind] == pytest.approx(share * found.tuning[kind], rel=0.01), kind


@pytest.mark.parametrize("slices", ["float32", "bfloat16"])
def test_states_of_8_bits_are_those_of_real_tensors(slices):
    c = config("llama", **{"model.dtype": "bfloat16", "tuning.dtype": slices})
    c.finetune.optimizer = "adamw-8bit"
    found = plan(c, None, [2, 5])
    model = real_model(c, torch.bfloat16)
    tuned = Lander(c.tuning).build(model, None, even_sets(model, c, [2, 5]), 0)
    parameters = [p for p in tuned.parameters() if p.requires_grad]
    optimizer, total = eight_bit(parameters, c.finetune), 0
    for p in parameters:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for moments in optimizer.state.values():
        del moments["step"]
        parts = [part for moment in moments.values() for part in plain_tensors(moment).values()]
        total += sum(part.nbytes for part in parts)
    assert found.tuning["optimiser states"] == total


def eight_bit(parameters, settings):
    pytest.importorskip("torchao")
    return new_optimizer(parameters, settings)


@pytest.mark.parametrize("name, in_parts", [("llama", True), ("gemma2", False)])
def test_logits_that_exist_at_once(name, in_parts):
    """Of a frozen, plain head no more than LOGITS; of others all."""
    c = family_config(name) if name != "llama" else config(name)
    c.model.architecture = {**c.model.architecture, "vocab_size": 2**20}
    all_of_them = BATCH * LENGTH // 2 * 2**20 * 4
    most = 4 * LOGITS if in_parts else all_of_them
    assert plan(c, LANDER, [1, 2]).tuning["logits"] == most < all_of_them + 1
    assert plan(c, METHODS["full"]).tuning["logits"] == all_of_them


def test_command_line(capsys):
    assert main(["plan", "--profile", "bloom-7b1", "--method", "landermt"]) == 0
    text = capsys.readouterr().out
    assert (
        "parameters                 7,069,016,064" in text
        and "optimiser states" in text
        and "A100 40GB" in text
    )
    for arguments, expected in (
        (["--method", "landermtt"], "did you mean landermt"),
        (["--method", "xie"], "no plan for method 'xie'"),
        (["--gpu", "T5"], "did you mean T4"),
    ):
        assert main(["plan", "--profile", "tiny-bloom", *arguments]) == 2
        assert expected in capsys.readouterr().err


def test_the_command_line_takes_the_layers_that_detect_found(tmp_path, capsys):
    found = torch.zeros(1, 7)
    LayerScores(["en-de"], torch.zeros(1, 8), found, found, found, [4, 7]).save(
        tmp_path / "layers.json"
    )
    assert (
        main(["plan", "--profile", "tiny-bloom", "--output-dir", str(tmp_path), "--gpu", "T4"]) == 0
    )
    assert "k 2, epsilon 0.9, selected layers [4, 7]" in capsys.readouterr().out
    assert main(["plan", "--profile", "tiny-bloom", "--output-dir", str(tmp_path / "other")]) == 0
    assert "selected layers [1, 2, 3, 4]" in capsys.readouterr().out
