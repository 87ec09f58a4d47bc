"""Pruning: Wanda against a plain reimplementation with propagated inputs, exact sparsity, random
controls, and what is refused."""

import copy
import json

import pytest
import torch
from conftest import SIZES, random_model
from lander_helpers import make_sets, same, state
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3TextConfig

from lander_lite import LanderTuningConfig, decoder_blocks, get_lander_model
from lander_lite.cli import main
from lander_lite.neighbours.pruning import METRICS, prune

TEXTS = [
    "English: the dog sleeps\nGerman: der Hund schläft",
    "a cat eats the fish in the red house today",
    "he reads",
]
OTHER = ["def f(x): return x * 2", "0123456789 0123456789"]


def linears(model):
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and any(module is part for block in decoder_blocks(model) for part in block.modules())
    }


def plain_norms(model, tokenizer, names, texts):
    """||X_j|| for the linear layers `names`: whole passes of single, unpadded texts."""
    seen = {name: [] for name in names}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, rows=seen[name]: rows.append(
                args[0].reshape(-1, module.in_features).double()
            )
        )
        for name in names
    ]
    with torch.no_grad():
        for text in texts:
            model(tokenizer(text, return_tensors="pt")["input_ids"])
    for handle in handles:
        handle.remove()
    return {name: (torch.cat(rows) ** 2).sum(0) ** 0.5 for name, rows in seen.items()}


def plain_prune(model, tokenizer, sparsity, texts, other=None, group=None, propagate=True):
    """The method with sorted Python lists; the whole model runs again for every block."""
    dense = copy.deepcopy(model)
    for block in decoder_blocks(model):
        names = [
            name
            for name, module in linears(model).items()
            if any(module is part for part in block.modules())
        ]
        norms = plain_norms(model if propagate else dense, tokenizer, names, texts)
        if other:
            against = plain_norms(model, tokenizer, names, other)
            norms = {name: norm**2 / against[name] for name, norm in norms.items()}
        for name in names:
            weight = model.get_submodule(name).weight.data
            columns = weight.shape[1]
            size = group or columns
            for row in weight:
                score = [abs(w) * x for w, x in zip(row.tolist(), norms[name].tolist())]
                for start in range(0, columns, size):
                    for j in sorted(range(start, start + size), key=lambda j: (score[j], j))[
                        : int(size * sparsity)
                    ]:
                        row[j] = 0.0
    return model


def equal(first, second):
    """Whether two states have the same bits; the helper names what differs."""
    return not same(first, second)


@pytest.mark.parametrize(
    "case",
    [{"sparsity": 0.4}, {"pattern": "2:4"}, {"sparsity": 0.4, "metric": "translation_minus_other"}],
    ids=str,
)
def test_scores_and_masks_equal_the_plain_algorithm(model, tokenizer, case):
    other = OTHER if "metric" in case else None
    oracle = plain_prune(
        copy.deepcopy(model),
        tokenizer,
        case.get("sparsity", 0.5),
        TEXTS,
        other,
        4 if "pattern" in case else None,
    )
    pruned, _ = prune(model, tokenizer, TEXTS, other=OTHER, batch_size=2, **case)
    assert equal(state(pruned), state(oracle))


def test_inputs_come_from_the_pruned_blocks(model, tokenizer):
    """The first block is pruned alike with the dense model's activations, the later ones are not:
    the oracle can tell."""
    dense_inputs = state(plain_prune(copy.deepcopy(model), tokenizer, 0.5, TEXTS, propagate=False))
    pruned = state(prune(model, tokenizer, TEXTS, 0.5)[0])
    differs = [
        any(
            not torch.equal(pruned[f"{name}.weight"], dense_inputs[f"{name}.weight"])
            for name in linears(model)
            if f".{i}." in name
        )
        for i in range(4)
    ]
    assert not differs[0] and all(differs[1:])


def test_each_block_gets_its_own_mask_and_positions(tokenizer):
    """Gemma 3's blocks take turns between a sliding window and full attention, with other position
    embeddings."""
    gemma = random_model(
        Gemma3TextConfig(
            **SIZES,
            intermediate_size=48,
            num_key_value_heads=2,
            head_dim=8,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention"] * 2,
        )
    )
    oracle = plain_prune(copy.deepcopy(gemma), tokenizer, 0.5, TEXTS)
    assert equal(state(prune(gemma, tokenizer, TEXTS, 0.5, batch_size=2)[0]), state(oracle))


def test_batch_size_and_padding_change_nothing(model, tokenizer):
    one, three = (
        prune(model, tokenizer, TEXTS, 0.5, batch_size=size, copy=True)[0] for size in (1, 3)
    )
    assert equal(state(one), state(three))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sparsity", [0.1, 0.33, 0.9])
def test_each_row_loses_the_same_number_and_nothing_else_changes(
    model, tokenizer, metric, sparsity
):
    before = state(model)
    pruned, report = prune(model, tokenizer, TEXTS, sparsity, metric, other=OTHER)
    assert pruned is model
    found = linears(model)
    for name, parameter in model.named_parameters():
        linear = found.get(name.removesuffix(".weight"))
        if linear is None:
            assert torch.equal(parameter, before[name]), name  # embeddings, head, norms, biases
            continue
        gone = parameter == 0
        assert (gone.sum(1) == int(linear.in_features * sparsity)).all(), name
        assert torch.equal(parameter[~gone], before[name][~gone]), name
    shares = {
        name: share for layer in report["layers"] for name, share in layer["sparsity"].items()
    }
    assert (
        set(shares) == set(found)
        and len(report["layers"]) == 4
        and all(layer["seconds"] >= 0 for layer in report["layers"])
    )
    assert all(
        shares[name] == pytest.approx(int(x.in_features * sparsity) / x.in_features)
        for name, x in found.items()
    )
    assert report["settings"]["metric"] == metric and report["settings"]["sparsity"] == sparsity
    json.dumps(report)


def test_of_four_consecutive_inputs_two_remain(model, tokenizer):
    _, report = prune(model, tokenizer, TEXTS, pattern="2:4")
    assert (
        all(
            (x.weight.unflatten(1, (-1, 4)) == 0).sum(-1).eq(2).all()
            for x in linears(model).values()
        )
        and report["sparsity"] == 0.5
    )


@pytest.mark.parametrize("metric", METRICS)
def test_sparsity_zero_changes_no_bit(model, tokenizer, metric):
    before = state(model)
    assert equal(state(prune(model, tokenizer, TEXTS, 0, metric, other=OTHER)[0]), before)


def test_a_copy_leaves_the_model_alone(model, tokenizer):
    before = state(model)
    pruned, _ = prune(model.train(), tokenizer, TEXTS, 0.5, copy=True)
    assert equal(state(model), before) and not equal(state(pruned), before)
    assert model.training and pruned.training, "the mode is put back"
    assert not any(module._forward_pre_hooks for module in pruned.modules())


def test_random_follows_its_seed_and_magnitude_the_weights_alone(bloom, tokenizer):
    def pruned(metric, texts=None, seed=0):
        return state(prune(bloom, tokenizer, texts, 0.5, metric, seed=seed, copy=True)[0])

    assert equal(pruned("random"), pruned("random")) and not equal(
        pruned("random"), pruned("random", seed=1)
    )
    assert equal(pruned("magnitude"), pruned("magnitude", TEXTS, seed=1))
    assert not equal(pruned("wanda", TEXTS), pruned("wanda", OTHER)), (
        "the calibration text must matter"
    )
    assert equal(pruned("wanda", TEXTS), pruned("translation", TEXTS))


def test_wanda_keeps_outputs_better_than_magnitude_and_random(model, tokenizer):
    """A few features are made a hundred times as large by the layer norms: magnitude can't know,
    and random less."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight") and parameter.ndim == 1:
                parameter[:4] *= 100
    ids = tokenizer(TEXTS[1], return_tensors="pt")["input_ids"]
    names = [name for name in linears(model) if name.endswith(("query_key_value", "q_proj"))][
        :1
    ]  # the first layer sees dense inputs
    seen, first = [], model.get_submodule(names[0])
    handle = first.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].clone()))
    with torch.no_grad():
        model(ids)
    handle.remove()
    dense = first.weight.detach().clone()
    error = {}
    for metric in ("wanda", "magnitude", "random"):
        pruned = (
            prune(model, tokenizer, TEXTS, 0.5, metric, copy=True)[0]
            .get_submodule(names[0])
            .weight.detach()
        )
        error[metric] = (seen[0] @ (dense - pruned).T).norm().item()
    assert 3 * error["wanda"] < error["magnitude"] < error["random"]


def test_a_feature_that_the_other_text_never_uses_stays_finite():
    from lander_lite.neighbours.pruning import scores

    norms = [
        torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64),
        torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64),
    ]
    found = scores("translation_minus_other", torch.ones(1, 3), norms, torch.Generator())
    assert found.isfinite().all() and found[0].argsort().tolist() == [2, 1, 0] and found[0, 1] == 4


def test_saved_and_loaded_it_gives_the_same_logits(model, tokenizer, tmp_path):
    pruned, _ = prune(model, tokenizer, TEXTS, 0.5)
    pruned.save_pretrained(tmp_path / "pruned")
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(again(ids).logits, pruned(ids).logits)


def test_bfloat16_stays_bfloat16(model, tokenizer):
    pruned, report = prune(model.bfloat16(), tokenizer, TEXTS, 0.5)
    assert all(x.weight.dtype == torch.bfloat16 for x in linears(pruned).values()) and report[
        "sparsity"
    ] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"sparsity": 1}, "below 1"),
        ({"sparsity": -0.1}, "below 1"),
        ({"sparsity": float("nan")}, "below 1"),
        ({}, "below 1"),
        ({"sparsity": 0.5, "metric": "wandb"}, "unknown metric 'wandb'"),
        ({"sparsity": 0.3, "pattern": "2:4"}, "give no other"),
        ({"pattern": "4:2"}, "0 < n < m"),
        ({"pattern": "half"}, "0 < n < m"),
        ({"pattern": "1:5"}, "does not divide the 32 inputs of .*0"),
        ({"sparsity": 0.5, "calibration": []}, "needs texts in `calibration`"),
        ({"sparsity": 0.5, "calibration": None}, "needs texts"),
        ({"sparsity": 0.5, "calibration": ["a", ""]}, "prompt 1 has no tokens"),
        ({"sparsity": 0.5, "calibration": "a text"}, "a list"),
        ({"sparsity": 0.5, "metric": "translation_minus_other"}, "needs texts in `other`"),
        ({"sparsity": 0.5, "batch_size": 0}, "at least 1"),
    ],
)
def test_wrong_input_is_refused_before_anything_changes(model, tokenizer, arguments, message):
    before = state(model)
    with pytest.raises(ValueError, match=message):
        prune(model, tokenizer, **{"calibration": TEXTS, **arguments})
    assert equal(state(model), before)


def test_wrapped_and_broken_models_are_refused(bloom, tokenizer):
    broken = copy.deepcopy(bloom)
    with torch.no_grad():
        broken.transformer.h[2].mlp.dense_h_to_4h.bias[0] = float("inf")
    before = state(broken)
    with pytest.raises(FloatingPointError, match="not finite"):
        prune(broken, tokenizer, TEXTS, 0.5)
    assert equal(state(broken), before)
    lander = get_lander_model(bloom, LanderTuningConfig(make_sets(bloom), "none"))
    for wrapped, message in (
        (lander, "plain transformers model, not LanderModel"),
        (lander.get_base_model(), "unload or merge"),
    ):
        with pytest.raises(ValueError, match=message):
            prune(wrapped, tokenizer, TEXTS, 0.5)


def test_only_linear_layers_can_be_pruned(bloom, tokenizer):
    """Experts, Conv1D and adapters hold their weights elsewhere; half a pruned block would be
    reported as a whole one."""
    bloom.transformer.h[1].mlp.register_parameter("experts", nn.Parameter(torch.rand(2, 4, 4)))
    with pytest.raises(ValueError, match=r"h\.1\.mlp\.experts is not the weight of an nn.Linear"):
        prune(bloom, tokenizer, TEXTS, 0.5)


@pytest.fixture
def settings(tmp_path, bloom, tokenizer, corpus):
    bloom.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [json.dumps({"translation": row}, ensure_ascii=False) for row in corpus["translation"]]
    (tmp_path / "corpus.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return [
        "prune",
        "--corpus",
        str(tmp_path / "corpus.jsonl"),
        "--pairs",
        "en-de,de-en",
        "--output-dir",
        str(tmp_path / "run"),
        "--set",
        f"model.name_or_path={tmp_path / 'model'}",
        "--set",
        "evaluate.max_new_tokens=4",
    ]


def test_the_command_writes_model_tokenizer_and_report(settings, tmp_path, capsys):
    for options, share in (
        (["--sparsity", ".25"], 0.25),
        (["--pattern", "2:4", "--metric", "wanda"], 0.5),
    ):  # each replaces the last
        assert main([*settings, *options]) == 0
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "pruned")
        assert all(
            (x.weight == 0).float().mean().item() == pytest.approx(share)
            for x in linears(loaded).values()
        )
        report = json.loads((tmp_path / "run" / "pruning.json").read_text(encoding="utf-8"))
        assert report["sparsity"] == share and set(report["before"]) == {
            "bleu",
            "perplexity",
        } == set(report["after"])
        assert report["before"]["perplexity"] != report["after"]["perplexity"]
    assert len(AutoTokenizer.from_pretrained(tmp_path / "run" / "pruned")) == 260
    assert not [path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")]
    shown = capsys.readouterr().out
    assert (
        "before  BLEU en-de" in shown and "after   BLEU en-de" in shown and "perplexity en" in shown
    )


@pytest.mark.parametrize(
    "wrong, message",
    [
        (["--sparsity", "1.5"], "below 1"),
        (["--metric", "wandb"], "unknown metric"),
        (["--pattern", "2:4", "--sparsity", ".3"], "give no other"),
    ],
)
def test_the_command_refuses_wrong_options_before_it_writes(
    settings, tmp_path, capsys, wrong, message
):
    assert main([*settings, *wrong]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()
