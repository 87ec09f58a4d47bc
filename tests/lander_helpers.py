"""Shared by the tests of routing, lander, finetune, baselines and study: neuron sets of a tiny
model, inputs, short runs."""

import torch

from lander_lite.blocks import feed_forwards, fingerprint
from lander_lite.config import FinetuneConfig
from lander_lite.neurons import NeuronSets

LAYERS = [1, 3]


def make_sets(model, rest=True, multi=True, layers=tuple(LAYERS), seed=0):
    """Random sets for en, de, zh. rest: an eighth of the neurons belong to no set. multi: some
    neurons belong to two languages."""
    generator, d_ff = torch.Generator().manual_seed(seed), feed_forwards(model)[0].d_ff
    general, specific = {}, {lang: {} for lang in ("en", "de", "zh")}
    for layer in layers:
        order = torch.randperm(d_ff, generator=generator)
        n = d_ff // 8
        general[layer], parts = (
            order[: 4 * n],
            [order[4 * n : 5 * n], order[5 * n : 6 * n], order[6 * n : 7 * n if rest else d_ff]],
        )
        for i, lang in enumerate(specific):  # each language also takes two neurons of the next one
            specific[lang][layer] = (
                torch.cat([parts[i], parts[(i + 1) % 3][:2]]) if multi else parts[i]
            )
    awareness = {
        lang: {layer: torch.rand(d_ff, generator=generator) for layer in layers}
        for lang in specific
    }
    return NeuronSets(
        list(layers), list(specific), general, specific, d_ff, fingerprint(model), "test", awareness
    )


def inputs(batch=2, length=11, seed=0):
    """input_ids with a left-padded first row, and its mask."""
    ids = torch.randint(4, 300, (batch, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def logits(model, **keys):
    return model(**{**inputs(), **keys}).logits


def state(model):
    """A copy of the state dict."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    """Names whose tensors differ in any bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def tuned(lander):
    """{name: parameter} of the tuned slices and gates."""
    return {name: p for name, p in lander.named_parameters() if ".lander_" in name}


@torch.no_grad()
def disturb(lander, scale=0.2, seed=1):
    """Stand-in for training: every tuned slice and gate moves."""
    generator = torch.Generator().manual_seed(seed)
    for p in tuned(lander).values():
        p.add_(scale * torch.randn(p.shape, generator=generator))
    return lander


def quick(**settings):
    """A short run with weight decay on and a large learning rate."""
    return FinetuneConfig(
        **{
            "learning_rate": 0.01,
            "updates": 4,
            "batch_size": 2,
            "warmup": 0.0,
            "schedule": "constant",
            "weight_decay": 0.1,
            "save_every": 0,
            "progress": False,
            "rows_per_pair": None,
            **settings,
        }
    )
