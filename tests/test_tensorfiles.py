"""tensorfiles.py: the same content gives the same bytes, and older files can still be read."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from lander_lite.io import read_tensors, write_tensors
from lander_lite.neurons import NeuronSets

SAVE = """
import sys
from lander_lite.neurons import NeuronSets
for path in sys.argv[1:]:
    NeuronSets([0, 2], ["en", "de"], {0: [1], 2: [3, 4]}, {"en": {0: [2]}, "de": {2: [7]}}, 10, method="by hand").save(path)
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
