"""Configuration: one dataclass per step, profiles as YAML files, overrides as dotted keys."""

from __future__ import annotations

import difflib
import math
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import yaml

from .io import write_text
from .languages import check_template, languages_of_pair, parse_pair

__all__ = ["LanderConfig", "data_dir", "languages_of_pair", "parse_pair", "resolve"]
PACKAGE = Path(__file__).parent
FILE_SUFFIXES = (".jsonl", ".json", ".tsv", ".txt", ".yaml", ".safetensors", ".gguf", ".xz", ".gz")
LANGUAGES = ["en", "de", "it", "fr", "ar", "zh"]
# the ten directions of LANDeRMT (arXiv 2409.19523), Table 1
PAIRS = [pair for lang in ("de", "it", "fr", "ar", "zh") for pair in (f"en-{lang}", f"{lang}-en")]
DTYPES = ("float32", "bfloat16", "float16")
ROUTINGS = ("none", "literal", "corrected", "learned")
DEFAULT_ROUTING = "learned"  # the base model, until it is trained
LARGEST = 2**63 - 1  # of a tensor's sizes and a generator's seed
COUNT = (lambda value: 1 <= value <= LARGEST, "must be at least 1, and below 2^63")
BATCH = (lambda value: 1 <= value <= 65_536, "must be at least 1 and at most 65,536")
NATURAL = (lambda value: 0 <= value <= LARGEST, "must be at least 0, and below 2^63")
RANGES = {  # {setting: (its rule, what a message says)}; COUNT is that of other whole numbers
    "epsilon": (lambda value: 0 < value < 1, "must lie in 0..1, both excluded"),
    "warmup": (lambda value: 0 <= value < 1, "is a share of the updates: 0 <= warmup < 1"),
    "learning_rate": (lambda value: 0 < value < math.inf, "must be positive and finite"),
    **dict.fromkeys(("kl_weight", "weight_decay", "max_grad_norm"), NATURAL),
    "bootstrap": (
        lambda value: 0 <= value <= 1_000_000,
        "must be at least 0 and at most 1,000,000",
    ),
    **dict.fromkeys(("seed", "save_every"), NATURAL),
    **dict.fromkeys(("batch_size", "accumulation"), BATCH),
}


def _choice(default, choices):
    """A field that takes one of `choices` only."""
    return field(default=default, metadata={"choices": choices})


class Section:
    """What the dataclasses below share: settings by dotted key, and ranges."""

    def set(self, key: str, value, path: str = "") -> None:
        """Set one dotted key; strings are converted: "true", "4", "1e-3", "none", "en-de,de-en".

        Args: path: how this section is reached, such as "layers.", for messages.
        Raises: ValueError for an unknown key (it names the nearest) or a wrong value.
        """
        name, _, rest = key.partition(".")
        known = {spec.name: spec for spec in fields(self)}
        if name not in known:
            hint, names = nearest(name, known, path), ", ".join(known)
            raise ValueError(f"unknown setting {path + key!r}{hint}; there are: {path}{{{names}}}")
        current = getattr(self, name)
        if isinstance(current, Section) and (rest or isinstance(value, dict)):
            for inner, item in {rest: value}.items() if rest else value.items():
                current.set(str(inner), item, f"{path}{name}.")
        elif isinstance(current, Section):
            names = ", ".join(vars(current))
            raise ValueError(f"{path + name!r} is a section; set one of {names}")
        elif rest and isinstance(current, dict):  # model.architecture.hidden_size
            current[rest] = yaml.safe_load(value) if isinstance(value, str) else value
        elif rest:
            raise ValueError(f"{path + key!r}: {path}{name} is a single value, not a section")
        else:
            value = convert(value, typing.get_type_hints(type(self))[name], path + name)
            choices = known[name].metadata.get("choices", (value,))
            if value not in choices:
                wrong = f"{path + name} = {shown(value)}{nearest(value, choices)}"
                raise ValueError(f"{wrong}; choose one of {', '.join(map(str, choices))}")
            setattr(self, name, value)

    def check(self) -> None:
        """Raise ValueError for a value out of range."""
        for name, value in vars(self).items():
            rule = RANGES.get(name, COUNT if type(value) is int else None)
            if rule and not rule[0](value):
                section = type(self).__name__.removesuffix("Config").lower()
                where = f"{section}.{name}".removeprefix("lander.")
                raise ValueError(f"{where} = {value} {rule[1]}")


@dataclass
class ModelConfig(Section):
    name_or_path: str = "data/models/tiny-bloom"  # local folder or hub id
    dtype: str | None = _choice(None, (None, *DTYPES, "auto"))  # None: float32 on CPU
    device_map: str | None = None  # "auto", "cuda:0", …, as in transformers
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    revision: str | None = None
    gguf_file: str | None = None  # in the folder or hub repository; or name_or_path ends in .gguf
    trust_remote_code: bool = False  # it runs code that the model's authors can change
    random_weights: bool = False  # untrained: tests and planning without a download
    architecture: dict = field(default_factory=dict)  # model_type and sizes, as in transformers


@dataclass
class CorpusConfig(Section):
    train: str | None = None  # what load_corpus takes: .jsonl, .tsv, folder, hub id
    valid: str | None = None
    test: str | None = None
    languages: list[str] = field(default_factory=LANGUAGES.copy)
    pairs: list[str] = field(default_factory=PAIRS.copy)
    template: str | None = None  # None: corpus.TEMPLATE
    names: dict = field(default_factory=dict)  # {code: name in the template}, before langcodes'
    max_length: int = 256  # tokens of prompt + target
    too_long: str = _choice("cut", ("cut", "refuse"))  # cut and counted, or an error
    empty: str = _choice("refuse", ("refuse", "skip"))  # an error, or left out and counted


@dataclass
class LayersConfig(Section):
    k: int = 4  # selected layers, paper §5.2
    max_sentences: int | None = 500  # per pair, as in the authors' code
    batch_size: int = 16
    method: str = _choice("signed", ("signed", "absolute", "cosine"))


@dataclass
class AwarenessConfig(Section):
    text: str = _choice("mono", ("mono", "translation"))
    pre_activation: bool = False
    max_sentences: int | None = 500
    batch_size: int = 16


@dataclass
class CategoriesConfig(Section):
    epsilon: float = 0.9  # share of language-general neurons, eq. 5
    normalize: bool | str = _choice(True, (True, False, "layer_mean", "rank", "raw"))
    method: str = _choice("variance", ("variance", "xie", "random"))


@dataclass
class TuningConfig(Section):
    routing: str = _choice(DEFAULT_ROUTING, ROUTINGS)
    other_specific: str | None = _choice(None, (None, "keep", "drop"))  # None: by the routing
    # of the trained slices; None: the model's, but float32 where that is bfloat16 or float16
    dtype: str | None = _choice(None, (None, *DTYPES))


WITHOUT_EFFECT = ("progress", "save_every", "keep")  # settings of tuning that change no weight


@dataclass
class FinetuneConfig(Section):
    learning_rate: float = 1e-3
    updates: int = 300
    batch_size: int = 16
    accumulation: int = 1  # micro-batches per update
    # adamw-8bit (torchao's): 2 bytes of states a weight, not 8; bfloat16 slices rounded at random
    optimizer: str = _choice("adamw", ("adamw", "adamw-8bit"))
    warmup: float = 0.1  # share of the updates
    schedule: str = _choice("cosine", ("cosine", "linear", "constant"))
    weight_decay: float = 0.01
    max_length: int = 256
    too_long: str = _choice("cut", ("cut", "refuse"))
    max_grad_norm: float = 1.0
    seed: int = 0
    rows_per_pair: int | None = 400  # None: every row of the corpus
    save_every: int = 100
    keep: int = 2  # checkpoints
    progress: bool = True
    mixed_precision: str = _choice("no", ("no", "fp16", "bf16"))
    gradient_checkpointing: bool = False
    kl_weight: float = 0.0  # of KL(base || tuned) on plain sentences, nats per token


@dataclass
class EvaluateConfig(Section):
    max_sentences: int | None = None
    batch_size: int = 64
    max_new_tokens: int = 64
    max_length: int = 2048  # tokens of the prompt
    bootstrap: int = 1000


@dataclass
class LanderConfig(Section):
    """Everything a run needs; `from_profile` and `from_yaml` check every key and type."""

    profile: str = "tiny-bloom"
    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    layers: LayersConfig = field(default_factory=LayersConfig)
    awareness: AwarenessConfig = field(default_factory=AwarenessConfig)
    categories: CategoriesConfig = field(default_factory=CategoriesConfig)
    tuning: TuningConfig = field(default_factory=TuningConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @classmethod
    def from_profile(cls, name: str, **overrides) -> LanderConfig:
        """The profile `name` with overrides: from_profile("tiny-bloom", **{"layers.k": 2}).

        Raises: ValueError for an unknown profile or key (it names the nearest) or a wrong value.
        """
        if name not in (known := profiles()):
            hint = nearest(name, known)
            raise ValueError(f"unknown profile {name!r}{hint}; profiles: {', '.join(known)}")
        path = PACKAGE / "profiles" / f"{name}.yaml"
        return cls.from_yaml(path, **{"profile": name, **overrides})

    @classmethod
    def from_yaml(cls, path, **overrides) -> LanderConfig:
        """A config file as `to_yaml` writes it; keys left out keep their defaults.

        Raises: as `from_profile`; FileNotFoundError; ValueError for no YAML mapping.
        """
        path, config = Path(path), cls()
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), OnceLoader) or {}
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(values, dict):
            kind = type(values).__name__
            raise ValueError(f"{path} must be a mapping of section names to settings, not {kind}")
        try:
            for key, value in values.items():
                config.set(str(key), value)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        for key, value in overrides.items():
            config.set(key, value)
        sized = any(key.startswith("model.architecture.") for key in overrides)
        if "model.name_or_path" in overrides and not sized:
            config.model.architecture = {}  # the sizes were those of the profile's model
        config.check()
        return config

    def check(self) -> None:
        """Raise ValueError for a value out of range or a malformed pair."""
        super().check()
        if not re.fullmatch(r"\w[\w.-]*", self.profile):
            raise ValueError(f"profile = {shown(self.profile)}: a name, not a path")
        try:
            for pair in self.corpus.pairs:
                parse_pair(pair)
            if self.corpus.template:
                check_template(self.corpus.template)
        except ValueError as error:
            raise ValueError(f"corpus: {error}") from error
        for code, name in self.corpus.names.items():
            if not isinstance(name, str):
                raise ValueError(f"corpus.names.{code} = {shown(name)}: expected a name")
        if self.model.load_in_4bit and self.model.load_in_8bit:
            raise ValueError("model.load_in_4bit and model.load_in_8bit exclude each other")
        for name, size in self.model.architecture.items():
            most = 65_536 if str(name).startswith("num_") else 2**24
            counted = re.match("num_|.*_size$", str(name)) and size is not None
            if counted and not (type(size) is int and 1 <= size <= most):
                told = f"expected a whole number of 1 to {most:,}"
                raise ValueError(f"model.architecture.{name} = {shown(size)}: {told}")
        k, n = self.layers.k, self.model.architecture.get("num_hidden_layers") or LARGEST
        if k >= n:
            raise ValueError(f"layers.k = {k}: {self.profile} has {n} layers, k is at most {n - 1}")
        for section in vars(self).values():
            if isinstance(section, Section):
                section.check()

    def to_yaml(self, path) -> None:
        """Write the config, atomically; `from_yaml` gives it back."""
        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True))


class OnceLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            told = f"the key {twice[0]!r} is there twice"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark)
        return super().construct_mapping(node, deep)


def convert(value, hint, key: str):
    """`value`, from YAML or a command line, as the type `hint`; ValueError if it is none."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if types.NoneType in kinds and str(value).lower() in ("none", "null", ""):
        return None
    for kind in kinds:
        if (converted := _as(kind, value)) is not None:
            return converted
    names = {list[str]: "a list such as en-de,de-en", types.NoneType: "none"}
    expected = " or ".join(names.get(kind) or kind.__name__ for kind in kinds)
    if isinstance(value, bool) and str in kinds:
        expected += " (YAML reads an unquoted no or yes as true/false: quote it)"
    raise ValueError(f"{key} = {shown(value)}: expected {expected}")


def shown(value) -> str:
    """A value as a message shows it: not a whole file, should one be in its place."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text):,} characters)"


def _as(kind, value):
    """`value` as a `kind`; None if it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(str(value).lower())
    if kind in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if kind is float:
            return number
        return int(number) if number.is_integer() else None  # nan and inf are no integers
    if kind is str and isinstance(value, (str, Path)):
        return str(value)
    if kind is dict and isinstance(value, dict):
        return dict(value)
    if kind == list[str]:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, (list, tuple)) and all(isinstance(part, str) for part in parts):
            return [part.strip() for part in parts if part.strip()] or None
    return None


def data_dir() -> Path:
    """The packaged data: `lander_lite/data` in an installed wheel, else `data/` of the clone."""
    inside = PACKAGE / "data"
    return inside if inside.is_dir() else PACKAGE.parent / "data"


def resolve(name) -> Path | None:
    """The local path that `name` means: as it stands or, for "data/…", in the packaged data.

    Returns: None for what can only be a hub id, "owner/name" or "name".
    Raises: FileNotFoundError for a missing local path.
    """
    text, path = str(name), Path(name).expanduser()
    packaged = data_dir() / text.removeprefix("data/")
    if path.exists():
        return path
    if text.startswith("data/") and packaged.exists():
        return packaged
    is_file = not isinstance(name, str) or text.startswith("data/") or path.suffix in FILE_SUFFIXES
    if is_file or not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?(:[\w.-]+)?", text):
        raise FileNotFoundError(
            f"no such file or folder: {text} (looked in {Path.cwd()} and in the packaged data)"
        )
    if str(path.parent) != "." and path.parent.is_dir():
        known = "give what exists, a profile of a model, or a hub id"
        raise FileNotFoundError(f"no {text}, although {path.parent}/ exists here: {known}")
    return None


def refuse_other(found: Mapping, wanted: Mapping, where, remedy: str, was="was made") -> None:
    """Raise ValueError where what was stored (`found`) differs from today's `wanted`, key by key.

    The sentence: `where` was made with another corpus (before, now after); `remedy`.
    """
    for key, now in wanted.items():
        if found.get(key) != now:
            change = f"another {key} ({found.get(key)}, now {now})"
            raise ValueError(f"{where} {was} with {change}; {remedy}")


def nearest(name, valid, prefix: str = "") -> str:
    """ " (did you mean …?)", or "" when nothing in `valid` is like `name`."""
    match = difflib.get_close_matches(str(name)[:100], [str(v) for v in valid], n=1, cutoff=0.5)
    return f" (did you mean {prefix}{match[0]}?)" if match else ""


def profiles() -> list[str]:
    """The names of the profiles."""
    return sorted(path.stem for path in (PACKAGE / "profiles").glob("*.yaml"))
