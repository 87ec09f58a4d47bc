"""Baichuan2-7B without its remote code: its files on Llama's classes, and its tokenizer on
SentencePiece.

Its decoder is Llama's. Three things differ in the files: W_pack holds queries, keys and values in
one matrix; the rows of the output head are scaled to length 1 when it is used (NormHead), which is
done here once; and config and tokenizer name classes of the model's own repository. The 13B models
have ALiBi in place of rotary positions, and are refused.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedConfig
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Chunk, WeightConverter
from transformers.tokenization_utils_sentencepiece import SentencePieceBackend

from ..model import naming, refuse_missing

SHARED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "rms_norm_eps",
    "hidden_act",
    "initializer_range",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)


class _Packed(LlamaForCausalLM):
    """Llama while it is loaded from Baichuan's files."""

    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq"]


register_checkpoint_conversion_mapping(
    "_Packed",
    [
        WeightConverter(
            "self_attn.W_pack.weight",
            [f"self_attn.{part}_proj.weight" for part in "qkv"],
            [Chunk(dim=0)],
        )
    ],
    overwrite=True,
)


class BaichuanTokenizer(SentencePieceBackend):
    """tokenizer.model as it is: no token is put in front or at the end, and bytes are decoded."""

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return self.sp_model.decode(tokens)


def load_baichuan(
    source: str, revision: str | None = None, **options
) -> tuple[LlamaForCausalLM, BaichuanTokenizer]:
    """(model, tokenizer) of a folder or hub id; options: dtype, device_map, quantization_config.
    ValueError for a model with ALiBi."""
    found, _ = PreTrainedConfig.get_config_dict(source, revision=revision)
    if "max_position_embeddings" not in found:
        raise ValueError(
            f"{source}: no max_position_embeddings, so this Baichuan model has ALiBi (13B); only "
            f"the 7B models are Llama's."
        )
    shared = {key: found[key] for key in SHARED if key in found}
    with naming(f"{source}: config.json"):
        config = LlamaConfig(**shared, tie_word_embeddings=False)
    options |= {"config": config, "revision": revision, "output_loading_info": True}
    model, loaded = _Packed.from_pretrained(source, **options)
    refuse_missing(loaded, source)
    model.__class__ = LlamaForCausalLM  # what is saved is a plain Llama
    model.config.architectures, model._weight_conversions = ["LlamaForCausalLM"], None
    # the first Baichuan-7B has a plain head
    if found.get("architectures") != ["BaiChuanForCausalLM"]:
        head = model.get_output_embeddings().weight
        with torch.no_grad():
            head.copy_(F.normalize(head.float(), dim=-1))
    return model, BaichuanTokenizer.from_pretrained(source, revision=revision)
