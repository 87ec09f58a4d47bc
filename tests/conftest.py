"""Fixtures for every test: no network, tiny random models of both architectures, a tokenizer and a
corpus made in memory."""

import copy
import os
import socket

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = (
    "1"  # before transformers and datasets are imported
)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # models this small gain nothing from threads, and lose much on a busy machine

import pytest  # noqa: E402
import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, PreTrainedTokenizerFast  # noqa: E402

LOCAL = ("127.0.0.1", "::1", "localhost")
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}


class NetworkError(RuntimeError):
    """A test tried to reach the network."""


def _refuse(address):
    raise NetworkError(f"a test opened a connection to {address}; the default suite is offline")


@pytest.fixture(autouse=True, scope="session")
def offline():
    """Every connection or name lookup fails, except Unix sockets and localhost (Jupyter kernels
    talk through it)."""
    patch = pytest.MonkeyPatch()
    real = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}

    def guard(name):
        def guarded(self, *arguments):
            address = arguments[-1] if arguments else None
            if self.family != socket.AF_UNIX and not (
                isinstance(address, tuple) and address[0] in LOCAL
            ):
                _refuse(address)
            return real[name](self, *arguments)

        return guarded

    lookup = socket.getaddrinfo
    for name in real:
        patch.setattr(socket.socket, name, guard(name))
    patch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: lookup(host, *a, **k) if host in (*LOCAL, None) else _refuse(host),
    )
    yield
    patch.undo()


def random_model(config, seed: int = 0):
    """An untrained model of `config`, eval mode; weights larger than usual, so that logits differ
    from token to token."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.randn_like(p) * 0.1)
    return model.eval()


@pytest.fixture(scope="session")
def _bloom():
    return random_model(BloomConfig(**SIZES))


@pytest.fixture(scope="session")
def _llama():
    return random_model(LlamaConfig(**SIZES, intermediate_size=48, num_key_value_heads=4))


@pytest.fixture
def bloom(_bloom):
    """A random BLOOM, 4 layers, d_model 32, d_ff 128, vocabulary 300; a fresh copy for each
    test."""
    return copy.deepcopy(_bloom)


@pytest.fixture
def llama(_llama):
    """A random Llama, 4 layers, d_model 32, d_ff 48 (gated), vocabulary 300; a fresh copy for each
    test."""
    return copy.deepcopy(_llama)


@pytest.fixture(params=["bloom", "llama"])
def model(request):
    """Both architectures in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def tokenizer():
    """Bytes as tokens: ids 0-3 are <unk> <s> </s> <pad>, then one id per byte. It adds no BOS, as
    BLOOM's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", "<pad>", *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    )


SENTENCES = {
    "en": [
        "the dog sleeps",
        "a cat eats the fish",
        "we see the red house",
        "he reads",
        "she drinks some cold water today",
        "the man is old",
    ],
    "de": [
        "der Hund schläft",
        "eine Katze frisst den Fisch",
        "wir sehen das rote Haus",
        "er liest",
        "sie trinkt heute kaltes Wasser",
        "der Mann ist alt",
    ],
    "zh": [
        "狗在睡觉",
        "一只猫吃鱼",
        "我们看见红色的房子",
        "他读书",
        "她今天喝冷水",
        "那个男人很老",
    ],
}


@pytest.fixture
def corpus():
    """Six rows in en, de and zh."""
    return Dataset.from_dict(
        {"translation": [dict(zip(SENTENCES, row)) for row in zip(*SENTENCES.values())]}
    )
