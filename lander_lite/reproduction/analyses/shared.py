"""What the analyses share: their record, blocks of sentences, and means with intervals.

In every analysis {"mean", "sd", "low", "high", "n"} is a mean over n disjoint blocks of sentences
(or training seeds) with its 95% interval (Student's t), and {"mean", "low", "high", "draws"} is the
mean and the central 95% of random draws. A name with "control" is what a number has to be compared
with. Sentences are those of the valid part, which no score was made from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from ...prompts import texts
from ..lab import Lab
from ..statistics import mean_interval

BLOCKS = 5  # of held-out sentences
DRAWS = 10  # random controls
SEEDS = 3  # draws of neurons, or trainings
SENTENCES = 40  # per language and block


@dataclass(frozen=True)
class Analysis:
    """A measurement of a lab's model. about: the question, and how it is answered. function: (lab)
    -> numbers, tensors and arrays by name; calling the record gives them as JSON takes them."""

    name: str
    about: str
    function: Callable[[Lab], dict]

    def __call__(self, lab: Lab) -> dict:
        return plain(self.function(lab))


def plain(x):
    """`x` for JSON: tensors as lists, six digits, None for what is not finite."""
    if isinstance(x, dict):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, (Tensor, np.ndarray, np.generic)):
        return plain(x.tolist())
    if isinstance(x, (list, tuple)):
        return [plain(value) for value in x]
    if isinstance(x, float):
        return float(f"{x:.6g}") if math.isfinite(x) else None
    return x


def interval(values) -> dict:
    """{"mean", "sd", "low", "high", "n"} of values [block]; lists of them for [block, …]."""
    values = torch.as_tensor(values, dtype=torch.float64)
    columns = values.reshape(len(values), -1).T.tolist()
    table = np.array([mean_interval(column) for column in columns], dtype=float)  # None: nan
    parts = table.T.reshape(4, *values.shape[1:])
    return dict(zip(("mean", "sd", "low", "high"), parts)) | {"n": len(values)}


def spread(values) -> dict:
    """{"mean", "low", "high", "draws"} of random draws [draw, …]: the central 95%."""
    values = torch.as_tensor(values, dtype=torch.float64).numpy()
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return {"mean": values.mean(axis=0), "low": low, "high": high, "draws": len(values)}


def rank_correlations(rows) -> np.ndarray:
    """Spearman's correlation of any two different rows, [pair of rows]."""
    matrix = np.corrcoef(rankdata(np.asarray(rows), axis=-1))
    return matrix[np.triu_indices(len(matrix), 1)]


def sentence_blocks(corpus, size: int = SENTENCES, n: int = BLOCKS) -> list:
    """`n` disjoint parts of a corpus, of `size` rows each, or of what a small corpus has."""
    size = max(1, min(size, len(corpus) // n))
    return [corpus.select(range(start, start + size)) for start in range(0, n * size, size)]


def by_language(corpus, languages) -> dict[str, list[str]]:
    """{language: its sentences}."""
    return {language: texts(corpus, language) for language in languages}
