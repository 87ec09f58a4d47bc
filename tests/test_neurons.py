"""NeuronSets and the selectors, against plain loops."""

import os
import statistics
from fractions import Fraction

import pytest
import torch

from lander_lite.awareness import AwarenessScores
from lander_lite.blocks import fingerprint
from lander_lite.neurons import NeuronSets, categorize, normalized, random_neurons, xie_split

LANGUAGES, LAYERS, WIDTH = ["en", "de", "zh-Hans"], [1, 4], 40


def make_scores(seed=0, values=None):
    if values is None:
        values = (
            torch.rand(
                len(LANGUAGES), len(LAYERS), WIDTH, generator=torch.Generator().manual_seed(seed)
            )
            ** 3
        )
    return AwarenessScores(LANGUAGES, LAYERS, values, {"model_type": "toy"}, {"text": "mono"})


def as_lists(sets):
    named = {"general": sets.general, **sets.specific}
    return {
        name: {layer: indices.tolist() for layer, indices in found.items()}
        for name, found in named.items()
    }


@pytest.fixture
def sets():
    return categorize(make_scores(), epsilon=0.7)


# ---------------------------------------------------------------- selectors
def plain_categories(values, epsilon):
    """Eq. 5 in plain Python, one layer: values[language][neuron]."""
    n = len(values[0])
    variances = [statistics.variance([row[i] for row in values]) for i in range(n)]
    order = sorted(range(n), key=lambda i: (variances[i], i))
    cut = int(epsilon * n + 1e-9)
    winners = {language: [] for language in LANGUAGES}
    for i in sorted(order[cut:]):
        column = [row[i] for row in values]
        winners[LANGUAGES[column.index(max(column))]].append(i)
    return sorted(order[:cut]), winners


@pytest.mark.parametrize("epsilon", [0.1, 0.29, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("normalize", [True, "layer_mean", "rank", False, "raw"])
def test_categorize_is_equation_5(epsilon, normalize):
    scores = make_scores()
    sets = categorize(scores, epsilon, normalize)
    for position, layer in enumerate(LAYERS):
        values = [row[position].double().tolist() for row in scores.values]
        if normalize in (True, "layer_mean"):
            values = [[x / statistics.mean(row) for x in row] for row in values]
        elif normalize == "rank":
            values = [[Fraction(sorted(row).index(x) + 1, len(row)) for x in row] for row in values]
        general, specific = plain_categories(values, epsilon)
        assert sets.general[layer].tolist() == general
        assert {
            language: sets.specific[language][layer].tolist() for language in LANGUAGES
        } == specific
    assert torch.equal(sets.awareness["de"][4], scores.values[1, 1]), (
        "awareness keeps the raw scores"
    )


def test_ties_go_to_the_lower_index_and_the_first_language():
    values = torch.ones(3, 2, WIDTH)
    values[:, :, :4] = torch.tensor([[5.0], [5.0], [1.0]])[:, :, None]
    sets = categorize(
        make_scores(values=values), epsilon=0.8, normalize=False
    )  # 32 general of 36 equal ones, 8 specific
    assert sets.general[1].tolist() == list(range(4, 36))
    assert (
        sets.specific["en"][1].tolist() == [*range(4), *range(36, 40)]
        and len(sets.specific["de"][1]) == 0
    )


def test_layer_mean_removes_a_languages_scale_and_raw_does_not():
    scores = make_scores()
    scaled = make_scores(values=scores.values * torch.tensor([1.0, 50.0, 1.0])[:, None, None])
    assert as_lists(categorize(scaled)) == as_lists(categorize(scores))
    raw = categorize(scaled, normalize=False)
    assert sum(len(x) for x in raw.specific["de"].values()) == sum(
        len(x) for found in raw.specific.values() for x in found.values()
    )


def test_ranks_ignore_monotone_changes_and_share_ties():
    scores = make_scores()
    rooted = make_scores(values=scores.values.sqrt())
    assert as_lists(categorize(rooted, normalize="rank")) == as_lists(
        categorize(scores, normalize="rank")
    )
    row = torch.tensor([0.0, 5.0, 0.0, 3.0, 3.0, 3.0])
    ranks = normalized(AwarenessScores(["en", "de"], [0], row.expand(2, 1, 6)), "rank")
    assert ranks.dtype == torch.float64
    assert (ranks[1, 0] * 6).tolist() == pytest.approx([1.5, 6.0, 1.5, 4.0, 4.0, 4.0], abs=1e-12)
    tied = torch.zeros(3, 2, WIDTH)
    tied[0, :, 7] = (
        1.0  # every zero has the same mean rank in a language, so only neuron 7 varies much
    )
    assert categorize(make_scores(values=tied), epsilon=0.975, normalize="rank").specific["en"][
        1
    ].tolist() == [7]


def plain_rank(value, row):
    """Rank 1 … n; equal values share the mean of their ranks."""
    below, equal = sum(x < value for x in row), sum(x == value for x in row)
    return below + (equal + 1) / 2


def test_ranks_are_those_of_a_plain_count():
    values = torch.randint(0, 15, (3, 2, WIDTH), generator=torch.Generator().manual_seed(0)) / 3
    ranks = normalized(make_scores(values=values), "rank")
    expected = [
        [plain_rank(value, row) / WIDTH for value in row] for row in values.flatten(0, 1).tolist()
    ]
    assert ranks.flatten(0, 1).tolist() == expected


@pytest.mark.parametrize("rho, k", [(0.7, 0.9), (0.5, 0.0), (0.3, 0.5), (0.7, 1.0)])
def test_xie_split_against_a_plain_loop(rho, k):
    scores = make_scores()
    sets = xie_split(scores, rho, k)
    for position, layer in enumerate(LAYERS):
        values = scores.values[:, position].double().tolist()
        order = sorted(range(WIDTH), key=lambda i: -sum(row[i] for row in values))
        assert sets.general[layer].tolist() == sorted(order[: int(rho * WIDTH)])
        for row, language in zip(values, LANGUAGES):
            expected = sorted(
                i for i in order[int(rho * WIDTH) :] if row[i] > k * max(r[i] for r in values)
            )
            assert sets.specific[language][layer].tolist() == expected


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: categorize(make_scores(), epsilon=0), "epsilon = 0"),
        (lambda: categorize(make_scores(), epsilon=1.0), "epsilon = 1"),
        (lambda: categorize(make_scores(), epsilon=float("nan")), "epsilon = nan"),
        (lambda: categorize(make_scores(), normalize="mean"), "'mean'"),
        (
            lambda: categorize(make_scores(values=torch.zeros(3, 2, WIDTH))),
            "'en' in layer 1 are zero",
        ),
        (
            lambda: categorize(make_scores(values=torch.full((3, 2, WIDTH), torch.nan))),
            "not finite",
        ),
        (lambda: categorize(AwarenessScores(["en"], [0], torch.rand(1, 1, 4))), "at least two"),
        (lambda: AwarenessScores(["en"], [0], torch.rand(2, 1, 4)), "1 languages"),
        (lambda: xie_split(make_scores(), rho=1), "rho = 1"),
        (lambda: xie_split(make_scores(), k=1.5), "k = 1.5"),
    ],
)
def test_what_is_out_of_range_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "make", [lambda: categorize(make_scores(), 0.7), lambda: xie_split(make_scores(), 0.7, 0.4)]
)
def test_random_neurons_keep_sizes_and_sharing_but_not_indices(make):
    sets = make()
    first, again, other = (
        random_neurons(sets, seed=3),
        random_neurons(sets, seed=3),
        random_neurons(sets, seed=4),
    )
    assert first.counts() == sets.counts() and first.hash() == again.hash() != other.hash()
    for layer in LAYERS:
        shared = [
            torch.isin(s.specific["en"][layer], s.specific["de"][layer]).sum()
            for s in (sets, first)
        ]
        assert shared[0] == shared[1]
    chance = [random_neurons(sets, seed).overlap(sets)["general"][1] for seed in range(30)]
    size = len(sets.general[1])
    expected = size * size / WIDTH / (2 * size - size * size / WIDTH)
    assert abs(statistics.mean(chance) - expected) < 0.05


# ---------------------------------------------------------------- the sets
def test_pair_and_trainable_are_unions(sets):
    pair, trainable = sets.pair("de-en"), sets.trainable("de-en")
    for layer in LAYERS:
        specific = {*sets.specific["de"][layer].tolist(), *sets.specific["en"][layer].tolist()}
        assert pair[layer].tolist() == sorted(specific)
        assert trainable[layer].tolist() == sorted(specific | {*sets.general[layer].tolist()})
        # a bare code: the set of one language, for its plain text
        assert sets.pair("de")[layer].tolist() == sorted(sets.specific["de"][layer].tolist())
        assert sets.trainable("de")[layer].tolist() == sorted(
            {*sets.general[layer].tolist(), *sets.specific["de"][layer].tolist()}
        )
    with pytest.raises(ValueError, match="fr"):
        sets.pair("fr")
    with pytest.raises(ValueError, match="fr"):
        sets.pair("en-fr")


def test_only_keeps_one_kind(sets):
    ls, lg = sets.only(specific=True), sets.only(general=True)
    assert [len(ls.general[layer]) for layer in LAYERS] == [0, 0] and as_lists(ls) | {
        "general": None
    } == as_lists(sets) | {"general": None}
    assert as_lists(lg)["general"] == as_lists(sets)["general"] and all(
        len(x) == 0 for x in lg.pair("en-de").values()
    )
    with pytest.raises(ValueError, match="one of them"):
        sets.only()


def test_overlap_is_jaccard():
    a = NeuronSets([0], ["en"], {0: [0, 1, 2]}, {"en": {0: [5]}}, 10)
    b = NeuronSets([0, 1], ["en", "de"], {0: [1, 2, 3, 4]}, {"en": {0: []}}, 10)
    assert a.overlap(b) == b.overlap(a) == {"general": {0: 2 / 5}, "specific": {"en": {0: 0.0}}}
    assert b.overlap(b)["specific"]["de"] == {0: 1.0, 1: 1.0}
    with pytest.raises(ValueError, match="10 and 11"):
        a.overlap(NeuronSets([0], ["en"], {}, {}, 11))


@pytest.mark.parametrize(
    "general, specific, message",
    [
        ({0: [1, 1]}, {}, "twice"),
        ({0: [10]}, {}, "0 … 9"),
        ({0: [-1]}, {}, "0 … 9"),
        ({0: [1.5]}, {}, "integer"),
        ({3: [1]}, {}, "3 is not among"),
        ({0: [1, 2]}, {"en": {0: [2]}}, "neuron 2"),
        ({}, {"fr": {0: [2]}}, "'fr' is not among"),
        ({}, {"en": {7: [2]}}, "7 is not among"),
    ],
)
def test_construction_is_validated(general, specific, message):
    with pytest.raises(ValueError, match=message):
        NeuronSets([0], ["en"], general, specific, 10)


def test_awareness_must_be_complete():
    with pytest.raises(ValueError, match="'en', layer 0"):
        NeuronSets([0], ["en"], {}, {}, 10, awareness={"en": {0: torch.rand(9)}})


def test_construction_sorts_and_fills():
    sets = NeuronSets([2, 0], ["en"], {0: torch.tensor([3, 1])}, {}, 10)
    assert (
        sets.layers == [0, 2]
        and sets.general[0].tolist() == [1, 3]
        and sets.general[0].dtype == torch.long
    )
    assert sets.specific["en"][2].tolist() == [] and sets.specific["en"][2].dtype == torch.long


def test_save_and_load(sets, tmp_path):
    sets.save(tmp_path / "deep" / "neurons.safetensors")
    loaded = NeuronSets.load(tmp_path / "deep" / "neurons.safetensors")
    assert (
        as_lists(loaded) == as_lists(sets)
        and loaded.hash() == sets.hash()
        and repr(loaded) == repr(sets)
    )
    assert (loaded.model, loaded.method, loaded.provenance, loaded.d_ff) == (
        sets.model,
        sets.method,
        sets.provenance,
        sets.d_ff,
    )
    assert all(
        torch.equal(loaded.awareness[x][y], sets.awareness[x][y]) for x in LANGUAGES for y in LAYERS
    )
    bare = NeuronSets([0], ["en"], {}, {}, 5)
    bare.save(tmp_path / "bare.safetensors")
    assert NeuronSets.load(tmp_path / "bare.safetensors").awareness is None


def test_a_failed_save_leaves_the_old_file(sets, tmp_path, monkeypatch):
    path = tmp_path / "neurons.safetensors"
    sets.save(path)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        random_neurons(sets).save(path)
    assert NeuronSets.load(path).hash() == sets.hash() and os.listdir(tmp_path) == [path.name]


def test_loading_something_else_says_so(sets, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        NeuronSets.load(tmp_path / "nothing.safetensors")
    make_scores().save(tmp_path / "scores.safetensors")
    with pytest.raises(ValueError, match="AwarenessScores"):
        NeuronSets.load(tmp_path / "scores.safetensors")
    sets.save(tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-8])
    with pytest.raises(ValueError, match="cut.safetensors is damaged"):
        NeuronSets.load(tmp_path / "cut.safetensors")


def test_hash_depends_on_every_index_and_on_nothing_else(sets):
    content = {"layers": LAYERS, "languages": LANGUAGES, "d_ff": WIDTH}
    same = NeuronSets(general=sets.general, specific=sets.specific, method="by hand", **content)
    assert same.hash() == sets.hash()
    fewer = {**sets.general, 1: sets.general[1][1:]}
    assert NeuronSets(general=fewer, specific=sets.specific, **content).hash() != sets.hash()
    assert sets.only(general=True).hash() != sets.hash()


def test_sets_of_another_model_are_refused(bloom, llama):
    own = NeuronSets([1], ["en"], {}, {}, 128, fingerprint(bloom))
    own.check_model(bloom)
    with pytest.raises(ValueError, match="model_type is bloom, this model's is llama"):
        own.check_model(llama)
    bloom.get_input_embeddings().weight.data.normal_()
    with pytest.raises(ValueError, match="another model"):
        own.check_model(bloom)
    with pytest.raises(ValueError, match="layer 9"):
        NeuronSets([9], ["en"], {}, {}, 128).check_model(bloom)
    NeuronSets([3], ["en"], {}, {}, 100).check_model(bloom)


def test_repr_is_a_table_of_counts(sets):
    lines = repr(sets).splitlines()
    assert sets.hash() in lines[0] and len(lines) == 6
    assert [int(x) for x in lines[2].split()[1:]] == [28, 28] and lines[5].split()[0] == "zh-Hans"


# ---------------------------------------------------------------- LAPE's files
@pytest.fixture
def lape_file(tmp_path):
    sets = [
        [
            torch.tensor([5, 9]),
            torch.tensor([], dtype=torch.long),
            torch.tensor([0]),
            torch.tensor([1]),
        ],
        [
            torch.tensor([5]),
            torch.tensor([2, 3]),
            torch.tensor([], dtype=torch.long),
            torch.tensor([90]),
        ],
    ]
    torch.save(sets, tmp_path / "lape.pth")
    return tmp_path / "lape.pth"


def test_lape_file(lape_file, bloom):
    sets = NeuronSets.from_lape_file(lape_file, ["en", "zh"])
    assert (
        sets.layers == [0, 1, 2, 3]
        and sets.specific["zh"][1].tolist() == [2, 3]
        and sets.d_ff == 91
        and sets.method == "lape"
    )
    assert sets.pair("en-zh")[0].tolist() == [5, 9] and all(
        len(x) == 0 for x in sets.general.values()
    )
    known = NeuronSets.from_lape_file(lape_file, ["en", "zh"], bloom)
    assert known.d_ff == 128 and known.model == fingerprint(bloom)


def test_lape_file_errors(lape_file, tmp_path, bloom, llama):
    with pytest.raises(FileNotFoundError, match="nothing"):
        NeuronSets.from_lape_file(tmp_path / "nothing", ["en"])
    with pytest.raises(ValueError, match="2 languages, but 1"):
        NeuronSets.from_lape_file(lape_file, ["en"])
    with pytest.raises(ValueError, match="0 … 47"):
        NeuronSets.from_lape_file(lape_file, ["en", "zh"], llama)
    for content, message in (
        (torch.zeros(3), "found Tensor"),
        ([[torch.zeros(1).long()], []], "layers per language"),
        ([[1] * 4, [2] * 4], "expected a tensor"),
        ([[torch.tensor([1])]] * 2, "expected 4"),
    ):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=message):
            NeuronSets.from_lape_file(tmp_path / "other.pth", ["en", "zh"], bloom)


class Dangerous:
    def __reduce__(self):
        return os.mkdir, (os.environ["LANDER_TEST_MARK"],)


def test_lape_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.setenv("LANDER_TEST_MARK", str(tmp_path / "mark"))
    torch.save([[Dangerous()]], tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="could run code"):
        NeuronSets.from_lape_file(tmp_path / "bad.pth", ["en"])
    assert not (tmp_path / "mark").exists()
    (tmp_path / "text.pth").write_text("not torch")
    with pytest.raises(ValueError, match="plain tensors"):
        NeuronSets.from_lape_file(tmp_path / "text.pth", ["en"])
