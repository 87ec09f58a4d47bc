"""An atlas of languages: how often each neuron is active in each of many languages, in two halves
of the text. From one small file LAPE's sets of any rates follow in seconds, without the model.

What is kept of a share p of tokens is sqrt(p), in which sampling error is even, in 255 steps: an
error of at most 1/510, beside a standard error of 1/(2 sqrt(n)) of n tokens, 1/200 for 10,000.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import torch as safetensors
from torch import Tensor
from tqdm.auto import tqdm

from ..blocks import fingerprint
from ..config import LanderConfig, refuse_other
from ..corpus import load_corpus
from ..io import atomic_path, content_of, read_tensors, write_tensors, write_text
from ..model import load_configured
from ..neurons import NeuronSets
from ..probes.knowledge import nats_per_sentence
from ..prompts import languages_of, texts
from .families import agreement_by_language
from .lape import ActivationCounts, active_tokens, check_languages, lape_from_counts

KIND = "lander_lite.Atlas/1"
PART = "lander_lite.AtlasPart/1"
STEPS = 255  # of sqrt(p)
KNOWN = 20  # rows, for nats per sentence
COLUMNS = ("code", "tokens", "neurons", "agreement_of_halves", "nats_per_sentence")


@dataclass(eq=False)
class Atlas:
    """How often neurons are active, by language and half of the text.

    Attributes:
        roots: uint8 [half, language, layer, d_ff], 255 sqrt(p). tokens: int64 [half, language].
        languages: codes. model: the model's `fingerprint`. settings: how the text was read.
    """

    roots: Tensor
    tokens: Tensor
    languages: list[str]
    model: dict
    settings: dict

    def counts(self, half: int | None = None, languages: Sequence[str] | None = None):
        """`ActivationCounts` of one half, or of both together; of some languages, or of all."""
        chosen = [self.languages.index(x) for x in languages or self.languages]
        parts = []
        for part in [half] if half is not None else range(len(self.roots)):
            tokens = self.tokens[part, chosen]
            shares = (self.roots[part, chosen].double() / STEPS) ** 2
            found = (shares * tokens[:, None, None]).round().long().permute(1, 2, 0)
            names = [self.languages[i] for i in chosen]
            parts.append(ActivationCounts(found, tokens, names, self.model))
        return sum(parts[1:], parts[0])

    def save(self, path: str | Path) -> None:
        """Write a compressed safetensors file, atomically."""
        content = {"languages": self.languages, "model": self.model, "settings": self.settings}
        tensors = {"roots": self.roots.contiguous(), "tokens": self.tokens}
        data = safetensors.save(tensors, {KIND: json.dumps(content)})
        with atomic_path(path) as temporary:
            temporary.write_bytes(lzma.compress(data))

    @classmethod
    def load(cls, path: str | Path) -> Atlas:
        """Read what `save` wrote. Raises FileNotFoundError; ValueError for any other file."""
        data = Path(path).read_bytes()
        with content_of(path):
            try:
                data = lzma.decompress(data)
                size = int.from_bytes(data[:8], "little")
                content = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][KIND])
                tensors = safetensors.load(data)
            except (lzma.LZMAError, EOFError, safetensors.SafetensorError) as error:
                raise ValueError(str(error)) from error
            return cls(tensors["roots"], tensors["tokens"], **content)


def atlas(
    model,
    tokenizer,
    corpus,
    folder: str | Path,
    *,
    languages: Sequence[str] | None = None,
    max_sentences: int | None = 500,
    batch_size: int = 32,
    max_length: int = 512,
    progress: bool = True,
) -> Atlas:
    """Count, language by language, where neurons are active (Tang et al. 2024) in the two halves of
    a parallel corpus: every other document, if rows name theirs, or every other row.

    Args:
        folder: each language's counts are kept there, so that a run that was stopped goes on.
        languages: default: all of the corpus. max_sentences: the first rows; None for all.
        batch_size, max_length: see `lape.activation_counts`.

    Raises: ValueError for fewer than two languages, and for a folder of other settings.
    """
    languages = list(languages or languages_of(corpus))
    check_languages(languages)
    used = corpus.select(range(len(corpus))[:max_sentences])
    settings = {"max_sentences": max_sentences, "max_length": max_length, "rows": len(used)}
    counted, tokens = [], []
    bar = tqdm(languages, desc="atlas", unit="language", disable=not progress)
    for language in bar:
        bar.set_postfix_str(language)
        path = Path(folder) / f"{language}.safetensors"
        if not path.is_file():
            halves = [active_tokens(model, tokenizer, text, batch_size, max_length)
                      for text in split(used, language)]  # fmt: skip
            found = {"counts": torch.stack([n for n, _ in halves]).int(),
                     "tokens": torch.tensor([n for _, n in halves])}  # fmt: skip
            write_tensors(path, PART, found, settings | fingerprint(model))
        before, part = read_tensors(path, PART)
        refuse_other(before, settings | fingerprint(model), path, "use another --output-dir")
        share = part["counts"].double() / part["tokens"][:, None, None]
        counted.append((share.sqrt() * STEPS).round().byte())
        tokens.append(part["tokens"])
    roots, tokens = torch.stack(counted, dim=1), torch.stack(tokens, dim=1)
    return Atlas(roots, tokens, languages, fingerprint(model), settings)


def split(corpus, language: str) -> list[list[str]]:
    """The sentences of one language in two halves, of other documents or else rows."""
    rows = [row[language] for row in corpus["translation"]]
    documents = corpus["document"] if "document" in corpus.column_names else range(len(corpus))
    number = {document: i for i, document in enumerate(dict.fromkeys(documents))}
    halves: list[list[str]] = [[], []]
    for row, document in zip(rows, documents):
        if row:
            halves[number[document] % 2].append(row)
    return halves


def language_table(found: Atlas, sets: NeuronSets, nats: dict[str, float]) -> str:
    """A line a language, separated by tabs, below a header: tokens that were counted, neurons of
    LAPE's set, Jaccard index of the sets of the two halves, nats per sentence of other text."""
    stable = agreement_by_language(*(lape_from_counts(found.counts(half=half)) for half in (0, 1)))
    lines = ["\t".join(COLUMNS)]
    for language, tokens in zip(found.languages, found.tokens.sum(dim=0).tolist()):
        neurons = sum(map(len, sets.specific[language].values()))
        told = f"{nats[language]:.2f}" if language in nats else ""
        lines.append(f"{language}\t{tokens}\t{neurons}\t{stable[language]:.3f}\t{told}")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- on the command line
def atlas_step(config: LanderConfig, folder: Path) -> Path:
    """`lander-lite atlas`: all languages of the training corpus; parts in atlas/, then one file.
    Beside it LAPE's sets at its authors' rates, in this project's and in their format, and
    languages.tsv, with nats per sentence of up to KNOWN rows that were not counted."""
    corpus = load_corpus(config.corpus.train, empty=config.corpus.empty)
    model, tokenizer = load_configured(config.model)
    found = atlas(
        model,
        tokenizer,
        corpus,
        folder / "atlas",
        max_sentences=config.awareness.max_sentences,
        batch_size=config.awareness.batch_size,
        max_length=config.corpus.max_length,
        progress=config.finetune.progress,
    )
    path = folder / "atlas.safetensors.xz"
    found.save(path)
    sets = lape_from_counts(found.counts())
    sets.save(folder / "lape.safetensors")
    sets.to_lape_file(folder / "lape.pt")
    rows, most = found.settings["rows"], config.corpus.max_length
    others = {x: texts(corpus, x)[rows : rows + KNOWN] for x in found.languages}
    nats = {
        language: nats_per_sentence(model, tokenizer, sentences, max_length=most)
        for language, sentences in others.items()
        if sentences
    }
    write_text(folder / "languages.tsv", language_table(found, sets, nats))
    return path
