"""The analyses behind the scorecard, on a toy model: their keys, planted neurons against random
ones, refusals, the study's kind."""

import copy
import json
import math

import pytest
import torch
from datasets import Dataset
from lander_helpers import quick

from lander_lite.awareness import score_awareness
from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.config import LanderConfig
from lander_lite.layers import detect_layers
from lander_lite.neighbours.families import agreement_by_language
from lander_lite.neurons import NeuronSets, categorize
from lander_lite.prompts import texts
from lander_lite.reproduction.analyses import ANALYSES, analyse, gates, quality
from lander_lite.reproduction.analyses.shared import (
    Analysis,
    interval,
    plain,
    sentence_blocks,
    spread,
)
from lander_lite.reproduction.lab import Lab
from lander_lite.reproduction.study import study

KEYS = {
    "layers": {"k", "layers", "pairs", "blocks", "sentences", "measures"},
    "ablation": {
        "languages",
        "draws",
        "neurons",
        "sentences",
        "rank_correlation_with_exact",
        "beats_activation",
        "estimate_over_exact",
        "tenths",
    },
    "silhouette": {
        "languages",
        "layers",
        "selected",
        "sentences",
        "draws",
        "neurons",
        "selected_layers",
        "by_layer",
        "random_draws",
        "specific_minus",
    },
    "switching": {
        "texts",
        "sets",
        "layers",
        "sentences",
        "random_sets",
        "neurons",
        "loss_change",
        "by_language",
        "own",
        "others",
        "own_minus_others",
        "hurt_most",
        "largest_of_another",
        "control_random",
        "own_minus_random",
    },
    "gates": {
        "method",
        "learning_rate",
        "grid",
        "updates",
        "batch_size",
        "seeds",
        "last_loss",
        "layers",
        "pairs",
        "tokens",
        "sentences",
        "before",
        "after",
        "moved",
        "moved_by_layer",
        "moved_by_pair",
        "moved_by_token",
        "after_by_pair_and_layer",
        "spread_over_tokens",
        "spread_by_layer",
        "bleu",
        "learned_minus",
    },
    "quality": {"pairs", "sentences", "bleu", "tenths", "features"},
    "profile": {
        "languages",
        "layers",
        "blocks",
        "sentences",
        "random_sets",
        "classes",
        "tokens_per_class",
        "per_token",
        "own_over_other_texts",
        "activation_explains",
        "awareness_share",
        "neurons_by_layer",
        "share_in_upper_half",
        "strongest",
        "top_tokens_in_own_texts",
    },
    "features": {
        "largest",
        "prompts_per_direction",
        "d_model",
        "pairs",
        "stand_out",
        "control_same",
        "difference",
        "control_independent",
        "overlap",
        "control_overlap_same",
        "control_overlap_random",
        "by_pair",
        "control_by_pair",
    },
}
KEYS["lape"] = KEYS["switching"] | {
    "top_rate",
    "sentences_read",
    "counts",
    "share_of_layers",
    "neurons_by_layer",
    "control_equal",
    "agreement_of_halves",
    "control_random_halves",
}


class ToyLab(Lab):
    """A lab without files: a random model, three languages, 15 sentences, two selected layers."""

    def __init__(self, model, tokenizer, corpus, folder):
        self.config = LanderConfig(profile="tiny-bloom", finetune=quick(updates=3))
        for key, value in {
            "corpus.languages": ["en", "de", "zh"],
            "corpus.pairs": ["en-de", "zh-en"],
            "layers.k": 2,
            "categories.epsilon": 0.8,
        }.items():
            self.config.set(key, value)
        rows = [
            {x: f"{row[x]} {other[x]}" for x in row}
            for row in corpus["translation"]
            for other in corpus["translation"][:3]
        ][:15]
        self.train = self.valid = self.test = Dataset.from_dict({"translation": rows})
        self.base, self.tokenizer, self.folder, self.corpus = model, tokenizer, folder, "c" * 16
        self.languages, self.n_layers, self.model = ["en", "de", "zh"], 4, fingerprint(model)
        self.layers = detect_layers(
            model, tokenizer, self.train, self.config.corpus.pairs, 2, progress=False
        )
        self.scores = score_awareness(
            model, tokenizer, self.train, self.languages, range(4), progress=False
        )


@pytest.fixture
def lab(bloom, tokenizer, corpus, tmp_path):
    return ToyLab(bloom, tokenizer, corpus, tmp_path)


@pytest.fixture
def quickly(monkeypatch):
    """The same computations with fewer sentences, draws and tokens."""
    for analysis in ANALYSES.values():
        module = analysis.function.__globals__
        for name, value in {
            "SENTENCES": 4,
            "DRAWS": 2,
            "SEEDS": 2,
            "SAMPLE": 4,
            "ABLATED": 2,
            "GATED": 3,
            "TRANSLATED": 2,
        }.items():
            if name in module:
                monkeypatch.setitem(module, name, value)
    real = gates.translate
    for module in (gates, quality):
        monkeypatch.setattr(module, "translate", lambda *a, **k: real(*a, **k, max_new_tokens=2))


def failing(message):
    return Analysis("none", "never made", lambda lab: pytest.fail(message))


def numbers(x):
    if isinstance(x, dict):
        return [n for value in x.values() for n in numbers(value)]
    return (
        [n for value in x for n in numbers(value)]
        if isinstance(x, list)
        else [x]
        if not isinstance(x, str)
        else []
    )


@pytest.mark.parametrize("name", ANALYSES)
def test_each_analysis_is_a_file_with_its_keys_and_is_made_once(name, lab, quickly, monkeypatch):
    before = copy.deepcopy(lab.base.state_dict())
    result = analyse(lab, [name])[name]
    path = lab.folder / "analysis" / f"{name}.json"
    assert json.loads(path.read_text()) == result
    assert set(result) == KEYS[name] | {
        "analysis",
        "about",
        "profile",
        "base_model",
        "corpus",
        "neuron_sets",
        "seconds",
        "threads",
        "versions",
    }
    assert (result["base_model"], result["corpus"], result["neuron_sets"]) == (
        lab.model,
        lab.corpus,
        lab.sets().hash(),
    )
    found = numbers({key: result[key] for key in KEYS[name]})
    missing = sum(x is None for x in found)  # classes without tokens, in this tiny corpus
    assert (
        len(found) > 40
        and all(math.isfinite(x) for x in found if x is not None)
        and missing < 0.2 * len(found)
    )
    assert all(torch.equal(value, before[key]) for key, value in lab.base.state_dict().items())
    monkeypatch.setitem(ANALYSES, name, failing("computed again"))
    assert analyse(lab, [name])[name] == result


def test_files_of_another_model_and_unknown_names_are_refused_before_any_work(
    lab, quickly, monkeypatch
):
    analyse(lab, ["silhouette"])
    path = lab.folder / "analysis" / "silhouette.json"
    for key, value in (("base_model", {"d_ff": 1}), ("corpus", "0" * 16), ("neuron_sets", "0")):
        stored = path.read_text()
        path.write_text(json.dumps(json.loads(stored) | {key: value}))
        monkeypatch.setitem(ANALYSES, "layers", failing("worked before refusing"))
        with pytest.raises(
            ValueError,
            match=f"silhouette.json was made with another {key}.*lander-lite study .* --kinds "
            f"analysis",
        ):
            analyse(lab)
        path.write_text(stored)
    with pytest.raises(ValueError, match="unknown analysis 'layer'.*analyses: layers, ablation"):
        analyse(lab, ["layer"])


def test_planted_neurons_dominate_the_diagonal_and_random_ones_do_not(lab, quickly):
    """Two neurons per language and selected layer fire for its texts and write its bytes, so its
    loss rises without them. The scores find them, and switching off what they find hurts their
    language."""
    generator, planted = torch.Generator().manual_seed(0), {}
    head = lab.base.get_output_embeddings().weight
    for layer in lab.choose_layers():
        network, means, bytes_of = feed_forwards(lab.base)[layer], {}, {}
        for x in lab.languages:
            seen = []
            hook = network.up.register_forward_pre_hook(
                lambda module, args, seen=seen: seen.append(args[0][0])
            )
            ids = [lab.tokenizer(s)["input_ids"] for s in texts(lab.train, x)]
            with torch.no_grad():
                for row in ids:
                    lab.base(torch.tensor([row]))
            hook.remove()
            means[x], bytes_of[x] = torch.cat(seen).mean(dim=0), torch.tensor(sum(ids, []))
        order = torch.randperm(network.d_ff, generator=generator)
        for i, x in enumerate(lab.languages):
            others = torch.stack([means[y] for y in lab.languages if y != x]).mean(dim=0)
            direction = 4 * (means[x] - others) / (means[x] - others).square().sum()
            with torch.no_grad():
                for neuron in order[2 * i : 2 * i + 2].tolist():
                    network.up.weight[neuron], network.up.bias[neuron] = (
                        direction,
                        -direction @ (means[x] + others) / 2,
                    )
                    network.down.weight[:, neuron] = (
                        0.5 * (head[bytes_of[x]].mean(dim=0) - head.mean(dim=0)) / head.std()
                    )
            planted.setdefault(x, {})[layer] = order[2 * i : 2 * i + 2].sort().values.tolist()
    lab.scores = score_awareness(
        lab.base, lab.tokenizer, lab.train, lab.languages, range(4), progress=False
    )
    lab.model, lab.config.categories.epsilon = fingerprint(lab.base), 1 - 6 / 128
    sets = categorize(lab.scores.select(lab.languages, lab.choose_layers()), 1 - 6 / 128)
    found = sum(
        len(set(sets.specific[x][layer].tolist()) & set(mine))
        for x, layers in planted.items()
        for layer, mine in layers.items()
    )
    result = ANALYSES["switching"](lab)
    assert found >= 10  # of 12
    assert result["hurt_most"] == lab.languages and result["own_minus_others"]["low"] > 0
    for control in result["control_random"]:
        assert control["own_minus_others"]["mean"] < 0.2 * result["own_minus_others"]["mean"]
    assert result["own_minus_random"]["low"] > 0


def test_intervals_blocks_and_plain_values(lab):
    both = interval(torch.tensor([[1.0, 10.0], [3.0, 10.0]]))
    assert (
        both["mean"].tolist() == [2, 10]
        and both["low"][0] == pytest.approx(2 - 12.706, rel=1e-3)
        and both["n"] == 2
    )
    assert (
        plain(interval([1.0, 3.0]))["high"] == pytest.approx(2 + 12.706, rel=1e-3)
        and plain(interval([1.0]))["low"] is None
    )
    assert plain(spread(range(101))) == {"mean": 50, "low": 2.5, "high": 97.5, "draws": 101}
    assert plain({1: torch.tensor([1.0, float("nan")]), "a": (2,)}) == {"1": [1, None], "a": [2]}
    parts = sentence_blocks(lab.valid, 100)
    assert len(parts) == 5 and sorted(sum((texts(part, "en") for part in parts), [])) == sorted(
        texts(lab.valid, "en")
    )


def test_the_gates_rate_is_that_of_the_grid(lab, quickly, monkeypatch):
    base = {
        "method": "lander-learned",
        "base_model": lab.model,
        "corpus": lab.corpus,
        "profile": "tiny-bloom",
        **{"seed": 0, "settings": {}, "pairs": {}},
    }
    trials = {"a": (0.003, 5.0, {}), "b": (0.001, 9.0, {}), "c": (0.03, 99.0, {"diverged": "nan"})}
    (lab.folder / "grid").mkdir()
    for name, (rate, bleu, more) in trials.items():
        (lab.folder / "grid" / f"{name}.json").write_text(
            json.dumps(base | {"learning_rate": rate, "mean": {"bleu": bleu, "chrf": 1.0}} | more)
        )
    rates, real = [], gates.finetune
    monkeypatch.setattr(
        gates,
        "finetune",
        lambda *a, **k: rates.append((a[4].learning_rate, a[4].seed)) or real(*a, **k),
    )
    result = ANALYSES["gates"](lab)
    assert rates == [(0.001, 0), (0.001, 1)] and result["grid"] == {"0.003": 5, "0.001": 9}
    assert result["spread_over_tokens"]["mean"] > 0 and result["bleu"].keys() == {
        "learned",
        "constant",
        "prior",
    }


def test_the_study_makes_them_last_and_needs_no_runs(lab, monkeypatch):
    calls, module = [], study.__globals__
    monkeypatch.setitem(module, "Lab", lambda config, folder: lab)
    monkeypatch.setitem(module, "analyse", calls.append)
    assert study(lab.config, kinds=["analysis"], output_dir=lab.folder) == [] and calls == [lab]
    monkeypatch.setitem(module, "perform", lambda *a, **k: [])
    study(lab.config, kinds=["main"], methods=["zero-shot"], output_dir=lab.folder)
    assert calls == [lab]


def test_agreement_is_jaccard_over_all_layers():
    def sets(en, de):
        return NeuronSets([0, 1], ["en", "de"], {}, {"en": en, "de": de}, 8, {}, "lape")

    first, second = sets({0: [1, 2], 1: [3]}, {0: [4]}), sets({0: [1], 1: [3, 2]}, {1: [4]})
    assert agreement_by_language(first, second) == {
        "en": 2 / 4,
        "de": 0.0,
    } and agreement_by_language(first, first) == {"en": 1.0, "de": 1.0}
