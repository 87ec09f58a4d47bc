"""Batches of one pair each: the sampler's promises, and the collator."""

from collections import Counter

import pytest
from torch.utils.data import DataLoader

from lander_lite.prompts import collate, encode
from lander_lite.scale.trainer import PairGroupedSampler, collate_pairs

PAIRS = ["en-de", "zh-en", "en-de", "af", "en-de", "zh-en", "en-de", "en-de", "zh-en", "zh-en"]


def in_batches(sampler):
    indices = list(sampler)
    assert len(indices) == len(sampler)
    size = sampler.batch_size
    return [tuple(indices[i : i + size]) for i in range(0, len(indices), size)]


@pytest.mark.parametrize("size, count", [(1, 10), (2, 6), (4, 4), (16, 3)])
def test_every_batch_has_one_pair_and_every_example_is_there(size, count):
    batches = in_batches(PairGroupedSampler(PAIRS, size, seed=0))
    assert len(batches) == count and all(len(batch) == size for batch in batches)
    assert all(len({PAIRS[i] for i in batch}) == 1 for batch in batches)
    seen = Counter(i for batch in batches for i in batch)
    assert sorted(seen) == list(range(10))
    for pair, n in Counter(PAIRS).items():  # the last batch alone is completed
        repeated = sum(seen[i] for i in seen if PAIRS[i] == pair) - n
        assert repeated == -n % size


def test_seed_and_epoch_give_the_order():
    def order(seed, epoch):
        sampler = PairGroupedSampler(PAIRS, 2, seed)
        sampler.set_epoch(epoch)
        assert list(sampler) == list(sampler)
        return tuple(sampler)

    orders = [order(seed, epoch) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9 and order(0, 0) == orders[0] == tuple(PairGroupedSampler(PAIRS, 2))
    first = {PAIRS[order(seed, 0)[0]] for seed in range(20)}
    assert first == set(PAIRS)  # batches are shuffled, not only the examples of a pair


def test_a_data_loader_gives_batches_of_one_pair(tokenizer, corpus):
    pairs = ["en-de", "zh-en"]
    examples = []
    for row in corpus["translation"]:
        for pair in pairs:
            source, target = pair.split("-")
            example = encode(tokenizer, row[source], row[target], pair)
            examples.append(example | {"pair": pair})
    sampler = PairGroupedSampler([example["pair"] for example in examples], 4, seed=1)
    loader = DataLoader(examples, 4, sampler=sampler, collate_fn=collate_pairs(tokenizer))
    batches = list(loader)
    assert Counter(batch["pair"] for batch in batches) == {"en-de": 2, "zh-en": 2}
    indices = iter(sampler)
    for batch in batches:
        expected = collate(tokenizer, [examples[next(indices)] for _ in range(4)])
        assert (
            batch.keys() == {*expected, "pair"} == {"input_ids", "attention_mask", "labels", "pair"}
        )
        assert all(batch[name].equal(expected[name]) for name in expected)


def test_mixed_batches_and_sizes_below_one_are_refused(tokenizer):
    mixed = [{"input_ids": [5], "labels": [5], "pair": pair} for pair in ("en-de", "de-en")]
    with pytest.raises(ValueError, match="holds de-en and en-de; use a PairGroupedSampler"):
        collate_pairs(tokenizer)(mixed)
    with pytest.raises(ValueError, match="batch_size=0"):
        PairGroupedSampler(PAIRS, 0)
