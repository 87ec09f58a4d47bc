"""head.py: losses and gradients against the model's own logits, for heads of every kind, and how
many logits exist at once."""

import copy

import pytest
import torch
import torch.nn.functional as F
import transformers
from lander_helpers import inputs, make_sets
from peft import LoraConfig, get_peft_model
from test_families import GATED
from torch.overrides import TorchFunctionMode

from lander_lite import head
from lander_lite.evaluation import perplexity
from lander_lite.hooks import sentence_losses
from lander_lite.training.loop import label_loss
from lander_lite.tuner.model import LanderTuningConfig, get_lander_model

WORDS, SOME = 512, 3  # of the vocabulary; positions of a part
HEADS = {  # {name: (model, sizes, whether its logits are what the head gives)}
    "bloom": ("Bloom", {"n_layer": 4, "n_head": 4, "hidden_size": 32}, True),  # tied
    "llama": ("Llama", {"tie_word_embeddings": False}, True),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 16}, True),  # a projection before it
    "phi": ("Phi", {}, True),  # a bias
    "gemma2": ("Gemma2", {"final_logit_softcapping": 2.0}, False),
    "cohere": ("Cohere", {"logit_scale": 0.1}, False),
    "granite": ("Granite", {"logits_scaling": 3.0}, False),
}


@pytest.fixture(params=HEADS)
def kind(request, monkeypatch):
    """(model, plain), a frozen head working in parts of SOME positions."""
    monkeypatch.setattr(head, "LOGITS", SOME * WORDS)
    name, sizes, plain = HEADS[request.param]
    base = {} if name == "Bloom" else GATED
    config = getattr(transformers, f"{name}Config")(**{**base, "vocab_size": WORDS, **sizes})
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model.eval(), plain


def batch():
    """Labels here and there, in the first column too, and a row without any."""
    ids = torch.cat([inputs(3, 9)["input_ids"], inputs(1, 9, seed=1)["input_ids"]])
    labels = ids.masked_fill(torch.rand(ids.shape, generator=torch.manual_seed(3)) < 0.4, -100)
    labels[2] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def expected(model, data):
    """Summed losses of the sentences from all logits."""
    logits = model(data["input_ids"], attention_mask=data["attention_mask"]).logits[:, :-1]
    losses = F.cross_entropy(logits.float().mT, data["labels"][:, 1:], reduction="none")
    return losses.sum(dim=1)


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def frozen_head(model):
    model.requires_grad_(True).get_output_embeddings().requires_grad_(False)
    return model


def lora_on_the_head(model):
    names = {id(module): name for name, module in model.named_modules()}
    name = names[id(model.get_output_embeddings())]
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=[name, "k_proj", "dense"]))
    for n, p in tuned.named_parameters():
        if "lora_B" in n:
            torch.nn.init.normal_(p, std=0.2)
    return tuned.eval()


def sliced(model):
    return get_lander_model(model, LanderTuningConfig(make_sets(model), "learned")).set_pair(
        "en-de"
    )


# {way to tune: (function, whether its head may work in parts)}
TUNED = {
    "frozen": (frozen_head, True),
    "whole": (lambda model: model, False),
    "lora": (lora_on_the_head, False),
    "slices": (sliced, True),
}


class Rows(TorchFunctionMode):
    """Counts the positions that a model's head sees each time."""

    def __init__(self, model):
        super().__init__()
        head = model.get_output_embeddings()
        self.weight, self.seen = getattr(head, "base_layer", head).weight, []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is F.linear and args[1] is self.weight:
            self.seen.append(result.shape[:-1].numel())
        return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("way", TUNED)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_losses_and_gradients_are_those_of_all_logits(kind, way, dtype):
    model, plain = kind
    tune, frozen = TUNED[way]
    model, data = tune(model.to(dtype)), batch()
    n = int((data["labels"][:, 1:] != -100).sum())
    own = expected(model, data)
    wanted = gradients(model, own.sum() / n)
    with Rows(model) as rows:
        loss = label_loss(model, data)
    got = gradients(model, loss)
    rough = {"rtol": 0.05, "atol": 0.02} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(loss, own.sum() / n, **rough)
    torch.testing.assert_close(sentence_losses(model, data), own, **rough)
    assert got.keys() == wanted.keys() and len(got) > 4
    error = 0.1 if dtype == torch.bfloat16 else 1e-4
    least = 1e-3 * max(gradient.float().norm() for gradient in wanted.values())
    for name in got:
        distance = (got[name] - wanted[name]).float().norm()
        assert distance <= error * max(least, wanted[name].float().norm()), name
    parts = [SOME] * (n // SOME) + [n % SOME] * (n % SOME > 0)
    assert n > 2 * SOME and sum(rows.seen) == n
    assert [x for x in rows.seen if x] == (parts if plain and frozen else [n])


def test_without_gradients_a_trained_head_works_in_parts_too(bloom, tokenizer, monkeypatch):
    texts = ["the dog sleeps", "we see it"]
    whole = perplexity(bloom.requires_grad_(True), tokenizer, texts)
    monkeypatch.setattr(head, "LOGITS", 300 * 4)
    with Rows(bloom) as rows:
        assert perplexity(bloom, tokenizer, texts) == pytest.approx(whole)
    assert len(rows.seen) > 3 and max(rows.seen) == 4


class Masked(transformers.LlamaForCausalLM):
    """Logits changed in place, where no other tensor tells of it."""

    def forward(self, *args, **keys):
        output = super().forward(*args, **keys)
        output.logits[..., 5:] -= 3
        return output


class Inline(transformers.LlamaForCausalLM):
    """A head that is not called as a module."""

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        hidden = self.model(input_ids, attention_mask=attention_mask)[0]
        logits = F.linear(hidden, self.lm_head.weight)
        return transformers.modeling_outputs.CausalLMOutput(logits=logits)


class Particular(transformers.LlamaForCausalLM):
    """It does not run without data."""

    def forward(self, input_ids, **keys):
        assert input_ids.max().item() >= 0
        return super().forward(input_ids, **keys)


@pytest.mark.parametrize("other", [Masked, Inline, Particular])
def test_what_is_no_plain_head_gives_the_models_own_logits(llama, other):
    model, data = copy.deepcopy(llama).requires_grad_(False), batch()
    data = {key: values.clamp(max=299) for key, values in data.items()}
    assert head.head_of(model)[1]
    model.__class__ = other
    assert not head.head_of(model)[1]
    with torch.no_grad():
        torch.testing.assert_close(sentence_losses(model, data), expected(model, data))
    assert not model.lm_head._forward_hooks and not model.lm_head._forward_pre_hooks
