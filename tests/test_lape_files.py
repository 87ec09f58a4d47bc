"""Neuron sets as files: LAPE's published format, and 120 languages in one safetensors file."""

import os
import time

import pytest
import torch

from lander_lite import LanderTuningConfig, get_lander_model
from lander_lite.blocks import fingerprint
from lander_lite.neurons import NeuronSets
from lander_lite.probes.switching import switched_off


@pytest.fixture
def sets(model):
    d_ff = fingerprint(model)["d_ff"]
    specific = {"en": {0: [5, 9], 2: [d_ff - 1]}, "de": {}, "zh-Hans": {0: [5], 3: range(7)}}
    return NeuronSets(
        [0, 1, 2, 3], ["en", "de", "zh-Hans"], {}, specific, d_ff, fingerprint(model), "lape"
    )


# ---------------------------------------------------------------- LAPE's format
def test_the_file_is_lists_of_sorted_tensors_and_reads_back(sets, model, tmp_path):
    sets.to_lape_file(tmp_path / "deep" / "lape.pth")
    content = torch.load(tmp_path / "deep" / "lape.pth", weights_only=True)
    assert [[indices.tolist() for indices in layers] for layers in content] == [
        [[5, 9], [], [sets.d_ff - 1], []],
        [[], [], [], []],
        [[5], [], [], list(range(7))],
    ]
    assert all(
        indices.dtype == torch.long and indices.dim() == 1
        for layers in content
        for indices in layers
    )
    again = NeuronSets.from_lape_file(tmp_path / "deep" / "lape.pth", sets.languages, model)
    assert again.hash() == sets.hash() and again.model == sets.model and again.method == "lape"
    again.to_lape_file(tmp_path / "again.pth")
    assert (
        NeuronSets.from_lape_file(tmp_path / "again.pth", sets.languages, model).hash()
        == sets.hash()
    )


def test_layers_that_the_sets_leave_out_are_empty(bloom, tmp_path):
    for model, layers in ((fingerprint(bloom), 4), ({}, 2)):
        NeuronSets([1], ["en"], {}, {"en": {1: [3]}}, 128, model).to_lape_file(
            tmp_path / "lape.pth"
        )
        assert [x.tolist() for x in torch.load(tmp_path / "lape.pth", weights_only=True)[0]] == [
            [],
            [3],
            [],
            [],
        ][:layers]


def test_general_neurons_have_no_place(bloom, tmp_path):
    sets = NeuronSets([1], ["en"], {1: [0]}, {"en": {1: [3]}}, 128, fingerprint(bloom))
    with pytest.raises(ValueError, match="only\\(specific=True\\)"):
        sets.to_lape_file(tmp_path / "lape.pth")
    assert not list(tmp_path.iterdir())
    sets.only(specific=True).to_lape_file(tmp_path / "lape.pth")


def test_a_failed_write_leaves_the_old_file(sets, tmp_path, monkeypatch):
    path = tmp_path / "lape.pth"
    sets.to_lape_file(path)
    before, real = path.read_bytes(), torch.save

    def full(content, file):
        real(content[:1], file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        sets.to_lape_file(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda content: content[:2], "2 languages, but 3"),
        (lambda content: [layers[:3] for layers in content], r"\[3\], expected 4"),
        (lambda content: [content[0][:3], *content[1:]], r"\[3, 4\]"),
        (
            lambda content: [[*content[0][:3], torch.tensor([128])], *content[1:]],
            "layer 3, 'en': indices must lie in 0 … 127",
        ),
        (
            lambda content: [[*content[0][:3], torch.tensor([-1])], *content[1:]],
            "layer 3, 'en': indices must lie in 0 … 127",
        ),
        (lambda content: [[*content[0][:3], torch.tensor([0.5])], *content[1:]], "integer indices"),
        (lambda content: [[*content[0][:3], torch.tensor([4, 4])], *content[1:]], "listed twice"),
    ],
)
def test_files_that_do_not_fit_are_refused(bloom, tmp_path, change, message):
    sets = NeuronSets(
        [0, 1, 2, 3], ["en", "de", "zh"], {}, {"en": {0: [1]}}, 128, fingerprint(bloom)
    )
    sets.to_lape_file(tmp_path / "lape.pth")
    NeuronSets.from_lape_file(tmp_path / "lape.pth", sets.languages, bloom)
    torch.save(change(torch.load(tmp_path / "lape.pth", weights_only=True)), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        NeuronSets.from_lape_file(tmp_path / "other.pth", sets.languages, bloom)


@pytest.mark.parametrize(
    "layers, neuron, message",
    [
        (3, 5, "n_layers is 3, this model's is 4"),
        (5, 5, "n_layers is 5"),
        (4, 128, "neuron 128 do not fit"),
    ],
)
def test_another_models_file_is_refused_before_use(bloom, tmp_path, layers, neuron, message):
    """Read without a model, the number of layers and the largest index still tell."""
    torch.save([[torch.tensor([neuron])] * layers], tmp_path / "lape.pth")
    sets = NeuronSets.from_lape_file(tmp_path / "lape.pth", ["en"])
    with pytest.raises(ValueError, match=message):
        get_lander_model(bloom, LanderTuningConfig(sets, "none"))
    with pytest.raises(ValueError, match=message), switched_off(bloom, sets, "en"):
        pass
    torch.save([[torch.tensor([127])] * 4], tmp_path / "lape.pth")
    with switched_off(bloom, NeuronSets.from_lape_file(tmp_path / "lape.pth", ["en"]), "en"):
        pass


# ---------------------------------------------------------------- many languages
def test_120_languages_in_one_file(tmp_path):
    """BLOOM-7b1's size: 30 layers of 16,384 neurons, 1% of them in some sets."""
    generator, layers, d_ff = torch.Generator().manual_seed(0), range(30), 16384
    languages = [f"{a}{b}{'-Latn' * (a == 'z')}" for a in "abcdefghijklz" for b in "klmnopqrstuv"][
        -120:
    ]
    specific = {
        x: {i: torch.randint(d_ff, (40 + i,), generator=generator).unique() for i in layers}
        for x in languages
    }
    model = {
        "model_type": "bloom",
        "n_layers": 30,
        "d_model": 4096,
        "d_ff": d_ff,
        "vocab_size": 250880,
        "weights_sha256": "0" * 16,
    }
    sets = NeuronSets(
        list(layers), languages, {}, specific, d_ff, model, "lape", provenance={"top_rate": 0.01}
    )
    start = time.process_time()
    sets.save(tmp_path / "lape.safetensors")
    again = NeuronSets.load(tmp_path / "lape.safetensors")
    seconds, size = time.process_time() - start, (tmp_path / "lape.safetensors").stat().st_size
    assert again.hash() == sets.hash() and again.languages == languages and len(languages) == 120
    assert (again.model, again.method, again.provenance) == (model, "lape", {"top_rate": 0.01})
    neurons = sum(len(x) for found in specific.values() for x in found.values())
    assert 8 * neurons < size < 8 * neurons + 1_000_000 and seconds < 5
