"""io.py: files whole or not at all, the same bytes for the same content, and what was made with
something else."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from lander_lite.awareness import KIND as SCORES_KIND
from lander_lite.awareness import AwarenessScores
from lander_lite.config import refuse_other
from lander_lite.io import read_tensors, write_tensors, write_text
from lander_lite.layers import KIND as LAYERS_KIND
from lander_lite.layers import TENSORS as LAYER_TENSORS
from lander_lite.layers import LayerScores
from lander_lite.neurons import FORMAT, NeuronSets

SAVE = """
import sys
from lander_lite.neurons import NeuronSets
for path in sys.argv[1:]:
    specific = {"en": {0: [2]}, "de": {2: [7]}}
    sets = NeuronSets([0, 2], ["en", "de"], {0: [1], 2: [3, 4]}, specific, 10, method="by hand")
    sets.save(path)
"""


def test_two_processes_write_the_same_bytes(tmp_path):
    paths = [tmp_path / f"{i}.safetensors" for i in range(8)]
    for mine in (paths[:4], paths[4:]):
        subprocess.run([sys.executable, "-c", SAVE, *map(str, mine)], check=True)
    assert len({path.read_bytes() for path in paths}) == 1
    assert NeuronSets.load(paths[0]).specific["de"][2].tolist() == [7]


def test_files_with_two_metadata_keys_can_be_read(tmp_path):
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    save_file(
        {"x": torch.arange(3)},
        old,
        metadata={"kind": "lander_lite.Test/1", "content": json.dumps({"a": [1]})},
    )
    write_tensors(new, "lander_lite.Test/1", {"x": torch.arange(3)}, {"a": [1]})
    for path in (old, new):
        content, tensors = read_tensors(path, "lander_lite.Test/1")
        assert content == {"a": [1]} and tensors["x"].tolist() == [0, 1, 2]
        with pytest.raises(ValueError, match="holds lander_lite.Test/1, not lander_lite.Other/1"):
            read_tensors(path, "lander_lite.Other/1")
    save_file({"x": torch.arange(3)}, old, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="something else"):
        read_tensors(old, "lander_lite.Test/1")


@pytest.mark.parametrize("view", [lambda x: x[1], lambda x: x.T, lambda x: x[:1].expand(3, 4)])
def test_views_are_written_as_what_they_show(tmp_path, view):
    x = torch.arange(12.0).view(3, 4)
    write_tensors(
        tmp_path / "x.safetensors", "lander_lite.Test/1", {"x": view(x), "rest": x[2]}, {}
    )
    _, tensors = read_tensors(tmp_path / "x.safetensors", "lander_lite.Test/1")
    assert torch.equal(tensors["x"], view(x)) and torch.equal(tensors["rest"], x[2])


def test_files_are_readable_as_any_other_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "deep" / "text", "ä")
    write_tensors(tmp_path / "deep" / "tensors", "lander_lite.Test/1", {"x": torch.zeros(1)}, {})
    modes = {path.stat().st_mode for path in tmp_path.rglob("*") if path.is_file()}
    assert len(modes) == 1 and sorted(os.listdir(tmp_path / "deep")) == ["tensors", "text"]


def test_what_was_made_with_something_else_is_refused():
    refuse_other({"seed": 1, "corpus": "a"}, {"seed": 1}, "here", "remove it")
    with pytest.raises(ValueError) as error:
        refuse_other({"seed": 1}, {"seed": 1, "corpus": "b"}, "results.json", "remove it")
    expected = "results.json was made with another corpus (None, now b); remove it"
    assert str(error.value) == expected
    with pytest.raises(ValueError, match="^run holds a run with another k .2, now 3.; go$"):
        refuse_other({"k": 2}, {"k": 3}, "run", "go", was="holds a run")


# ---------------------------------------------------------------- stored files that were changed
def stored_layers() -> dict:
    scores = LayerScores(["en-de"], *(torch.ones(1, n) for n in (4, 3, 3, 3)), selected=[1, 2])
    return {"kind": LAYERS_KIND, **vars(scores)} | {
        name: getattr(scores, name).tolist() for name in LAYER_TENSORS
    }


LAYER_FAULTS = {
    "no 'delta'": {"delta": None},
    "unexpected keyword": {"more": 1},
    "selected = ..1..: expected list of int": {"selected": ["1"]},
    "selected = .1.5.: expected list of int": {"selected": [1.5]},
    "selected layers .9.: RA can choose 1 … 3": {"selected": [9]},
    "selected layers .0.": {"selected": [0]},
    "selected layers ..:": {"selected": []},
    "expected list of str": {"pairs": "en-de"},
    "settings = .*: expected dict": {"settings": []},
    "no 'other'": {"method": "other"},
    "infer dtype": {"cosine": [{}]},
    "do not fit 2 pairs": {"pairs": ["en-de", "de-en"]},
    "do not fit 1 pairs": {"delta": [[1.0] * 4]},
    "do not fit 1 pairs and": {"activation": 5},
}


@pytest.mark.parametrize("fault", LAYER_FAULTS)
def test_layer_scores_that_were_changed_are_refused_by_file_and_key(tmp_path, fault):
    path, content = tmp_path / "layers.json", stored_layers()
    path.write_text(json.dumps(content))
    assert LayerScores.load(path).selected == [1, 2]
    content |= LAYER_FAULTS[fault]
    path.write_text(json.dumps({key: x for key, x in content.items() if x is not None}))
    with pytest.raises(ValueError, match=f"layers.json is damaged .*{fault}"):
        LayerScores.load(path)


SETS_FAULTS = {  # {what is said: {key: its new value, None for one that goes}}
    "no 'layers'": {"layers": None},
    "no 'languages'": {"languages": None},
    "no 'd_ff'": {"d_ff": None},
    "no 'specific.en.2'": {"specific.en.2": None},
    "awareness.en.2 belongs to no layer and language": {"layers": [0]},
    "x belongs to no layer": {"x": torch.ones(2)},
    "layers = .'0', 2.: expected list of int": {"layers": ["0", 2]},
    "languages = 'en': expected list of str": {"languages": "en"},
    "model = .'d_ff'.: expected dict": {"model": ["d_ff"]},
    "awareness of 'en', layer 0: needs finite numbers": {
        "awareness.en.0": torch.full((10,), torch.nan)
    },
}


@pytest.mark.parametrize("fault", SETS_FAULTS)
def test_neuron_sets_that_were_changed_are_refused_by_file_and_key(tmp_path, fault):
    path = tmp_path / "neurons.safetensors"
    scores = {"en": {layer: torch.ones(10) for layer in (0, 2)}}
    sets = NeuronSets([0, 2], ["en"], {0: [1]}, {"en": {2: [7]}}, 10, awareness=scores)
    sets.save(path)
    assert NeuronSets.load(path).hash() == sets.hash()
    changed = dict(zip(("tensors", "content"), sets.as_tensors()))
    for key, value in SETS_FAULTS[fault].items():
        part = changed["content" if key in changed["content"] else "tensors"]
        part[key] = value
        if value is None:
            del part[key]
    write_tensors(path, FORMAT, *changed.values())
    with pytest.raises(ValueError, match=f"neurons.safetensors is damaged .*{fault}"):
        NeuronSets.load(path)


@pytest.mark.parametrize("removed", ["languages", "layers", "values"])
def test_awareness_scores_that_were_changed_are_refused_by_file_and_key(tmp_path, removed):
    path = tmp_path / "scores.safetensors"
    scores = AwarenessScores(["en", "de"], [1], torch.ones(2, 1, 5))
    scores.save(path)
    assert AwarenessScores.load(path).values.shape == (2, 1, 5)
    content, tensors = read_tensors(path, SCORES_KIND)
    content.pop(removed, None)
    tensors.pop(removed, None)
    write_tensors(path, SCORES_KIND, tensors, content)
    with pytest.raises(ValueError, match=f"scores.safetensors is damaged .*{removed}"):
        AwarenessScores.load(path)
