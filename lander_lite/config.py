"""Configuration: one dataclass per step, profiles as YAML files, overrides as dotted keys
("categories.epsilon")."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .io import write_text

PACKAGE = Path(__file__).parent
# the ten directions of LANDeRMT (arXiv 2409.19523), Table 1
PAIRS = [pair for lang in ("de", "it", "fr", "ar", "zh") for pair in (f"en-{lang}", f"{lang}-en")]
LANGUAGES = ["en", "de", "it", "fr", "ar", "zh"]


def _choice(default, *choices):
    """A field that takes one of `choices` only."""
    return field(default=default, metadata={"choices": choices})


def _check_counts(section) -> None:
    for spec in dataclasses.fields(section):
        value, low = (
            getattr(section, spec.name),
            0 if spec.name in ("seed", "bootstrap", "save_every") else 1,
        )
        if type(value) is int and value < low:
            raise ValueError(
                f"{type(section).__name__}.{spec.name} = {value} must be at least {low}"
            )


@dataclass
class ModelConfig:
    name_or_path: str = "data/models/tiny-bloom"  # local folder or hub id
    dtype: str | None = _choice(
        None, None, "float32", "bfloat16", "float16", "auto"
    )  # None: float32 on CPU
    device_map: str | None = None  # "auto", "cuda:0", …, as in transformers
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    revision: str | None = None
    trust_remote_code: bool = (
        False  # never by default: it runs code that the model's authors can change
    )
    random_weights: bool = (
        False  # build from the architecture, untrained: tests and planning without a download
    )
    architecture: dict = field(
        default_factory=dict
    )  # model_type and sizes as in transformers' config: `plan` needs no download


@dataclass
class CorpusConfig:
    train: str | None = None  # what load_corpus takes: .jsonl, .tsv, folder, hub id
    valid: str | None = None
    test: str | None = None
    languages: list[str] = field(default_factory=lambda: list(LANGUAGES))
    pairs: list[str] = field(default_factory=lambda: list(PAIRS))
    template: str | None = None  # None: corpus.TEMPLATE
    max_length: int = 256  # tokens of prompt + target
    too_long: str = _choice(
        "cut", "cut", "refuse"
    )  # longer sentences are cut and counted, or an error


@dataclass
class LayersConfig:
    k: int = 4  # selected layers, paper §5.2
    max_sentences: int | None = 500  # per pair, as in the authors' code
    batch_size: int = 16
    method: str = _choice("signed", "signed", "absolute", "cosine")


@dataclass
class AwarenessConfig:
    text: str = _choice("mono", "mono", "translation")
    pre_activation: bool = False
    max_sentences: int | None = 500
    batch_size: int = 16


@dataclass
class CategoriesConfig:
    epsilon: float = 0.9  # share of language-general neurons, eq. 5
    normalize: bool | str = _choice(True, True, False, "layer_mean", "rank", "raw")
    method: str = _choice("variance", "variance", "xie", "random")


@dataclass
class TuningConfig:
    routing: str = _choice("learned", "none", "literal", "corrected", "learned")
    other_specific: str | None = _choice(
        None, None, "keep", "drop"
    )  # None: the routing's own default


@dataclass
class FinetuneConfig:
    learning_rate: float = 1e-3
    updates: int = 300
    batch_size: int = 16
    accumulation: int = 1  # micro-batches per update
    warmup: float = 0.1  # share of the updates
    schedule: str = _choice("cosine", "cosine", "linear", "constant")
    weight_decay: float = 0.01
    max_length: int = 256
    too_long: str = _choice("cut", "cut", "refuse")
    max_grad_norm: float = 1.0
    seed: int = 0
    rows_per_pair: int | None = 400  # None: every row of the corpus
    save_every: int = 100
    keep: int = 2  # checkpoints
    progress: bool = True
    mixed_precision: str = _choice("no", "no", "fp16", "bf16")
    gradient_checkpointing: bool = False
    kl_weight: float = 0.0  # of KL(base || tuned) on plain sentences, nats per token

    def check(self) -> None:
        """Raise ValueError for a value out of range."""
        for wrong, message in (
            (
                not 0 <= self.warmup < 1,
                f"finetune.warmup = {self.warmup} is a share of the updates: 0 <= warmup < 1",
            ),
            (
                not self.learning_rate > 0,
                f"finetune.learning_rate = {self.learning_rate} must be positive",
            ),
            (not self.kl_weight >= 0, f"finetune.kl_weight = {self.kl_weight} must be at least 0"),
        ):
            if wrong:
                raise ValueError(message)
        _check_counts(self)


@dataclass
class EvaluateConfig:
    max_sentences: int | None = None
    batch_size: int = 64
    max_new_tokens: int = 64
    bootstrap: int = 1000


@dataclass
class LanderConfig:
    """Everything a run needs. Build it with `from_profile` or `from_yaml`; both check every key and
    type."""

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
        """The profile `name` (see `profiles()`) with overrides: from_profile("tiny-bloom",
        **{"layers.k": 2}).

        Raises ValueError for an unknown profile or key (it names the nearest valid one) and for a
        value of the wrong type or range.
        """
        if name not in profiles():
            raise ValueError(
                f"unknown profile {name!r}{nearest(name, profiles())}; profiles: "
                f"{', '.join(profiles())}"
            )
        return cls.from_yaml(
            PACKAGE / "profiles" / f"{name}.yaml", **{"profile": name, **overrides}
        )

    @classmethod
    def from_yaml(cls, path, **overrides) -> LanderConfig:
        """A config file as `to_yaml` writes it; keys left out keep their defaults. Raises as
        `from_profile`, FileNotFoundError, and ValueError for a file that is not a YAML mapping."""
        path = Path(path)
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(values, dict):
            raise ValueError(
                f"{path} must be a mapping of section names to settings, not "
                f"{type(values).__name__}"
            )
        config = cls()
        try:
            for key, value in values.items():
                if isinstance(value, dict) and dataclasses.is_dataclass(
                    getattr(config, str(key), None)
                ):
                    for name, inner in value.items():
                        config.set(f"{key}.{name}", inner)
                else:
                    config.set(str(key), value)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        for key, value in overrides.items():
            config.set(key, value)
        if "model.name_or_path" in overrides and not any(
            key.startswith("model.architecture.") for key in overrides
        ):
            config.model.architecture = {}  # the sizes were those of the profile's model
        config.check()
        return config

    def set(self, key: str, value) -> None:
        """Set one dotted key. Strings are converted: "true", "4", "1e-3", "none", "en-de,de-en".
        Raises ValueError."""
        owner, parts = self, key.split(".")
        for depth, name in enumerate(parts):
            names = [f.name for f in dataclasses.fields(owner)]
            if name not in names:
                prefix = "".join(f"{part}." for part in parts[:depth])
                raise ValueError(
                    f"unknown setting {key!r}{nearest(name, names, prefix)}; there are: "
                    f"{prefix}{{{', '.join(names)}}}"
                )
            if depth == len(parts) - 1:
                break
            owner = getattr(owner, name)
            if isinstance(owner, dict):  # model.architecture.hidden_size
                owner[".".join(parts[depth + 1 :])] = (
                    yaml.safe_load(value) if isinstance(value, str) else value
                )
                return
            if not dataclasses.is_dataclass(owner):
                raise ValueError(
                    f"{key!r}: {'.'.join(parts[: depth + 1])} is a single value, not a section"
                )
        if dataclasses.is_dataclass(getattr(owner, name)):
            raise ValueError(
                f"{key!r} is a section; set one of "
                f"{', '.join(f.name for f in dataclasses.fields(getattr(owner, name)))}"
            )
        spec = next(f for f in dataclasses.fields(owner) if f.name == name)
        value = convert(value, typing.get_type_hints(type(owner))[name], key)
        if (choices := spec.metadata.get("choices")) and value not in choices:
            raise ValueError(
                f"{key} = {value!r}{nearest(value, choices)}; choose one of "
                f"{', '.join(map(str, choices))}"
            )
        setattr(owner, name, value)

    def check(self) -> None:
        """Raise ValueError for a value out of range or a malformed pair."""
        for pair in self.corpus.pairs:
            parse_pair(pair)
        n_layers = self.model.architecture.get("num_hidden_layers", float("inf"))
        for wrong, message in (
            (
                not 0 < self.categories.epsilon < 1,
                f"categories.epsilon = {self.categories.epsilon} must lie in 0..1, both excluded",
            ),
            (
                self.model.load_in_4bit and self.model.load_in_8bit,
                "model.load_in_4bit and model.load_in_8bit exclude each other",
            ),
            (
                self.layers.k >= n_layers,
                f"layers.k = {self.layers.k}: {self.profile} has {n_layers} layers, k is at most "
                f"{n_layers - 1}",
            ),
        ):
            if wrong:
                raise ValueError(message)
        self.finetune.check()
        for section in (self.layers, self.awareness, self.evaluate, self.corpus):
            _check_counts(section)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    def to_yaml(self, path) -> None:
        """Write the config, atomically; `from_yaml` gives it back."""
        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True))


def profiles() -> list[str]:
    return sorted(path.stem for path in (PACKAGE / "profiles").glob("*.yaml"))


def data_dir() -> Path:
    """The packaged data: `lander_lite/data` in an installed wheel, else `data/` of the clone."""
    inside = PACKAGE / "data"
    return inside if inside.is_dir() else PACKAGE.parent / "data"


def resolve(name) -> Path | None:
    """The local path that `name` means: as it stands or, for "data/…", in the packaged data
    (profiles work from any folder). None for what can only be a hub id ("owner/name" or "name").
    Raises FileNotFoundError at once for a missing local path."""
    text, path = str(name), Path(name).expanduser()
    if path.exists():
        return path
    packaged = data_dir() / text[len("data/") :]
    if text.startswith("data/") and packaged.exists():
        return packaged
    hub_like = isinstance(name, str) and re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?(:[\w.-]+)?", text)
    if (
        not hub_like
        or text.startswith("data/")
        or path.suffix in (".jsonl", ".json", ".tsv", ".txt", ".yaml", ".safetensors")
    ):
        raise FileNotFoundError(
            f"no such file or folder: {text} (looked in {Path.cwd()} and in the packaged data)"
        )
    return None


def nearest(name, valid, prefix: str = "") -> str:
    """ " (did you mean …?)", or "" when nothing in `valid` is like `name`."""
    match = difflib.get_close_matches(str(name), [str(v) for v in valid], n=1, cutoff=0.5)
    return f" (did you mean {prefix}{match[0]!s}?)" if match else ""


def parse_pair(pair: str) -> tuple[str, str]:
    """ "en-de" -> ("en", "de"). Raises ValueError for anything else, the same language twice
    included."""
    parts = str(pair).strip().split("-")
    if len(parts) != 2 or not all(parts) or parts[0] == parts[1]:
        raise ValueError(
            f"{pair!r} is not a translation direction: write source-target with two different "
            f"codes, such as en-de"
        )
    return parts[0], parts[1]


def languages_of_pair(pair: str) -> tuple[str, ...]:
    """("en", "de") of the direction "en-de"; ("af",) of a bare code, for plain text of one
    language."""
    return parse_pair(pair) if "-" in pair or not pair else (pair,)


def convert(value, hint, key: str):
    """`value` as the type `hint`, from its YAML or command-line form; ValueError says what was
    expected."""
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in kinds and (value is None or str(value).lower() in ("none", "null", "")):
        return None
    for kind in kinds:
        if kind is bool and (isinstance(value, bool) or str(value).lower() in ("true", "false")):
            return str(value).lower() == "true"
        if kind in (int, float) and not isinstance(value, bool):
            try:
                if kind is float or float(value) == int(float(value)):
                    return kind(float(value))
            except (
                TypeError,
                ValueError,
                OverflowError,
            ):  # not a number, or nan and inf as integers
                continue
        if kind is str and isinstance(value, (str, Path)):
            return str(value)
        if kind is dict and isinstance(value, dict):
            return dict(value)
        if kind == list[str]:
            value = (
                [part.strip() for part in value.split(",") if part.strip()]
                if isinstance(value, str)
                else value
            )
            if (
                isinstance(value, (list, tuple))
                and value
                and all(isinstance(part, str) for part in value)
            ):
                return list(value)
    expected = " or ".join(
        "a list such as en-de,de-en"
        if k == list[str]
        else "none"
        if k is type(None)
        else k.__name__
        for k in kinds
    )
    hint = (
        " (YAML reads an unquoted no or yes as true/false: quote it)"
        if isinstance(value, bool) and str in kinds
        else ""
    )
    raise ValueError(f"{key} = {value!r}: expected {expected}{hint}")
