"""Is the difference real? Paired bootstrap of BLEU, intervals over seeds, and the summary numbers
of continual learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from sacrebleu.metrics import BLEU
from scipy import stats

from ..config import parse_pair
from ..evaluation import bleu_counts, bleu_of_sums, bleu_tokenizer


# ---------------------------------------------------------------- two systems on one test set
def bleu_rows(pair: str, hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """The counts of one output that BLEU adds up, int [sentence, 10] (`evaluation.bleu_counts`);
    tokenizer `zh` into Chinese, 13a else.

    Compute them once for a system that is compared with several others.

    Raises: ValueError for lists of different length or empty ones.
    """
    if len(hypotheses) != len(references) or not len(references):
        raise ValueError(
            f"{pair}: {len(hypotheses)} hypotheses for {len(references)} references; there must "
            f"be one each"
        )
    tokenizer = bleu_tokenizer(parse_pair(pair)[1])
    return bleu_counts(BLEU(tokenize=tokenizer), hypotheses, references)


def paired_bootstrap(
    first: Mapping[str, Sequence],
    second: Mapping[str, Sequence],
    references: Mapping[str, Sequence[str]] | None = None,
    resamples: int = 1000,
    seed: int = 12345,
) -> dict[str, dict]:
    """Compare two systems on resamples of the test sentences, the same for both (Koehn 2004).

    first, second: {pair: one output per training seed}, an output being a list of sentences or
    their `bleu_rows` (then `references` can be left out). Per pair, and for "mean" over pairs
    (whose resamples draw the same row numbers in every pair of the same size, as rows are
    translations of each other), with d = BLEU(first) - BLEU(second), each averaged over its seeds:

    "delta": d on the test set; "ci": [2.5th, 97.5th] percentile of d over resamples;
    "p": sacreBLEU's, (1 + #{|d_b| - mean_b |d_b| >= |delta|}) / (B + 1). It is called two-sided,
    but between equal systems it stays below one half, so p < .05 comes about in one case of ten;
    "p_two_sided": (1 + #{|d_b - mean_b d_b| >= |delta|}) / (B + 1), the same resamples shifted to
    no difference (Riezler & Maxwell 2005); between equal systems p < .05 comes about in one case of
    twenty.

    Both are 1 for identical outputs (sacreBLEU's own > would give 1 / (B + 1)). None of this covers
    the choice of training seeds; for that see `mean_interval`.

    Raises: ValueError for other pairs, no output, or outputs of other length than the references.
    """
    if set(first) != set(second) or not first:
        raise ValueError(
            f"both systems need the same pairs, not {', '.join(first) or 'none'} and "
            f"{', '.join(second) or 'none'}"
        )
    differences = {}  # {pair: d on the test set, then on each resample}
    for pair in first:
        a, b = (_rows_per_seed(pair, system[pair], references) for system in (first, second))
        sizes = sorted({len(rows) for rows in (*a, *b)})
        if len(sizes) != 1:
            numbers = " and ".join(map(str, sizes))
            raise ValueError(f"{pair}: outputs of {numbers} sentences cannot be compared")
        counts = _resamples(sizes[0], resamples, seed)
        differences[pair] = _mean_bleu(a, counts) - _mean_bleu(b, counts)
    differences["mean"] = np.mean([*differences.values()], axis=0)
    return {name: _compare(float(d[0]), d[1:]) for name, d in differences.items()}


def mean_bleu_interval(
    outputs: Mapping[str, np.ndarray], resamples: int = 1000, seed: int = 12345
) -> tuple[float, float, float]:
    """(mean, low, high): BLEU of one system, mean over pairs, with its 95% interval over resamples
    of the test sentences, the same as `paired_bootstrap`'s. outputs: {pair: its `bleu_rows`}."""
    by_pair = [
        _mean_bleu([rows], _resamples(len(rows), resamples, seed)) for rows in outputs.values()
    ]
    mean, *sampled = np.mean(by_pair, axis=0)
    return float(mean), *map(float, np.percentile(sampled, [2.5, 97.5]))


@lru_cache(maxsize=1)
def _resamples(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often the test set, and each resample, has each row: float [1 + resample, sentence]."""
    draws = np.random.default_rng(seed).choice(n, size=(resamples, n), replace=True)
    return np.stack([np.ones(n), *(np.bincount(draw, minlength=n) for draw in draws)])


def _rows_per_seed(pair: str, outputs: Sequence, references) -> list[np.ndarray]:
    if len(outputs) == 0 or isinstance(outputs, (str, np.ndarray)) or isinstance(outputs[0], str):
        raise ValueError(
            f"{pair}: needs a list with one output per seed, even for a single seed: [sentences]"
        )
    if references is None and not all(isinstance(output, np.ndarray) for output in outputs):
        raise ValueError(f"{pair}: sentences need references; only bleu_rows go without")
    return [
        output if isinstance(output, np.ndarray) else bleu_rows(pair, output, references[pair])
        for output in outputs
    ]


def _mean_bleu(outputs: list[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """BLEU averaged over seeds, [resample], when row i counts counts[:, i] times."""
    metric = BLEU()  # the sums are past tokenization
    scores = [[bleu_of_sums(metric, sums) for sums in counts @ rows] for rows in outputs]
    return np.mean(scores, axis=0)


def _compare(delta: float, sampled: np.ndarray) -> dict:
    size, shifted = np.abs(sampled), np.abs(sampled - sampled.mean())

    def p_value(hits):
        return float(1 + hits.sum()) / (1 + len(sampled))

    return {
        "delta": delta,
        "ci": np.percentile(sampled, [2.5, 97.5]).tolist(),
        "p": p_value(size - size.mean() >= abs(delta)),
        "p_two_sided": p_value(shifted >= abs(delta)),
    }


# ---------------------------------------------------------------- several seeds
def mean_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float | None, float | None, float | None]:
    """(mean, sample standard deviation, low, high): mean ± t · sd / √n with Student's t of n - 1
    degrees of freedom.

    For one value the last three are None.

    Raises: ValueError for no value and a confidence outside 0 … 1.
    """
    if len(values) == 0 or not 0 < confidence < 1:
        raise ValueError(
            f"needs at least one value and a confidence between 0 and 1, not {len(values)} values "
            f"and {confidence}"
        )
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return mean, None, None, None
    sd = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd / n**0.5
    return mean, sd, mean - half, mean + half


def with_interval(mean: float, low: float, high: float, form: str) -> str:
    """ "mean [low, high]", each in a format such as ".2f"."""
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


# ---------------------------------------------------------------- one task after the other
def continual(R: Sequence[Sequence[float]], before: Sequence[float]) -> dict[str, float | None]:
    """Summary of training on T tasks in turn. R [T stages, T tasks]: R[j][i] is the score on task i
    after stage j; before [T]: untrained.

    acc        mean_i R[T,i]
    bwt        mean_{i<T} R[T,i] - R[i,i]            backward transfer; below 0: forgotten
    fwt        mean_{i>1} R[i-1,i] - before[i]       forward transfer, before its own stage
    forgetting mean_{i<T} max_{j<T} R[j,i] - R[T,i]  (Chaudhry et al. 2018)
    retention  100 mean_{i<T} R[T,i] / R[i,i]        percent (Scialom et al. 2022); None when a task
                                                     scores 0 after its own stage

    The first three are GEM's (Lopez-Paz & Ranzato 2017). All in the units of R but retention.

    Raises: ValueError unless R is square with T >= 2 and before has T scores.
    """
    R, before = np.asarray(R, dtype=float), np.asarray(before, dtype=float)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or len(R) < 2 or before.shape != R.shape[:1]:
        raise ValueError(
            f"R must be [stages, tasks] with as many stages as tasks, at least 2, and before "
            f"[tasks]; they are {list(R.shape)} and {list(before.shape)}"
        )
    last, learned = R[-1, :-1], R.diagonal()[:-1]
    return {
        "acc": float(R[-1].mean()),
        "bwt": float((last - learned).mean()),
        "fwt": float((R.diagonal(offset=1) - before[1:]).mean()),
        "forgetting": float((R[:-1, :-1].max(axis=0) - last).mean()),
        "retention": float(100 * (last / learned).mean()) if learned.all() else None,
    }


def at_equal_gain(
    curve_a: Sequence[tuple[float, float]], curve_b: Sequence[tuple[float, float]]
) -> tuple[float, float, float]:
    """(gain, loss_a, loss_b): what each method has lost elsewhere when both first reach the largest
    gain that both reach.

    A curve is a list of (gain, loss elsewhere) at growing numbers of updates, first (0, 0). Between
    two points both are taken as linear; points that fall short of an earlier gain do not count as
    reaching it (running maximum).

    Raises: ValueError for malformed curves and when no gain above 0 is common to both.
    """
    curves = [np.asarray(curve, dtype=float) for curve in (curve_a, curve_b)]
    for name, curve in zip("ab", curves):
        if curve.ndim != 2 or curve.shape[1] != 2 or curve[0].any() or not np.isfinite(curve).all():
            raise ValueError(
                f"curve_{name} must be a list of (gain, loss), all finite, that starts with (0, 0)"
            )
    reached = [np.maximum.accumulate(curve[:, 0]) for curve in curves]
    gain = min(highest[-1] for highest in reached)
    if gain <= 0:
        raise ValueError(
            f"no common gain above 0: the best gains are {reached[0][-1]:g} and {reached[1][-1]:g}"
        )
    losses = []
    for curve, highest in zip(curves, reached):
        i = int(np.argmax(highest >= gain))  # the first point at or beyond; the one before is below
        losses.append(float(np.interp(gain, highest[i - 1 : i + 1], curve[i - 1 : i + 1, 1])))
    return float(gain), *losses
