"""config.py: profiles, overrides, conversion, errors that name the nearest valid name."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lander_lite.config import (
    DEFAULT_ROUTING,
    ROUTINGS,
    FinetuneConfig,
    LanderConfig,
    data_dir,
    profiles,
    resolve,
)
from lander_lite.routing import ROUTINGS as ROUTES

# published parameter counts
PARAMETERS = {
    "bloom-560m": 559_214_592,
    "bloom-7b1": 7_069_016_064,
    "baichuan2-7b": 7_505_973_248,
    "llama-3.1-8b": 8_030_261_248,
    "gemma-3-270m": 268_098_176,
    "qwen3-0.6b": 596_049_920,
    "smollm2-135m": 134_515_008,
}


def test_every_profile_of_the_design_loads():
    assert set(profiles()) == {"tiny-bloom", "tiny-llama", *PARAMETERS}
    for name in profiles():
        config = LanderConfig.from_profile(name)
        assert config.profile == name and not config.model.trust_remote_code
        assert config.corpus.pairs == [
            "en-de",
            "de-en",
            "en-it",
            "it-en",
            "en-fr",
            "fr-en",
            "en-ar",
            "ar-en",
            "en-zh",
            "zh-en",
        ]


@pytest.mark.parametrize("name", PARAMETERS)
def test_architecture_has_the_published_number_of_parameters(name):
    sizes = dict(LanderConfig.from_profile(name).model.architecture)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(sizes.pop("model_type"), **sizes)
        )
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ["tiny-bloom", "tiny-llama"])
def test_tiny_architecture_is_that_of_the_committed_model(name):
    config = LanderConfig.from_profile(name).model
    sizes = dict(config.architecture)
    kind = sizes.pop("model_type")
    built = AutoConfig.for_model(kind, **sizes)
    committed = AutoConfig.for_model(
        **json.loads((resolve(config.name_or_path) / "config.json").read_text(encoding="utf-8"))
    )
    for key in (
        "model_type",
        "num_hidden_layers",
        "hidden_size",
        "num_attention_heads",
        "vocab_size",
        "tie_word_embeddings",
    ):
        assert getattr(built, key) == getattr(committed, key), (
            f"{key} differs: write {getattr(committed, key)} into profiles/{name}.yaml"
        )
    assert getattr(built, "intermediate_size", None) == getattr(
        committed, "intermediate_size", None
    )


def test_tiny_profiles_find_their_files_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = LanderConfig.from_profile("tiny-bloom")
    for name in (
        config.corpus.train,
        config.corpus.valid,
        config.corpus.test,
        config.model.name_or_path,
    ):
        assert resolve(name) == data_dir() / name.removeprefix("data/")


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("layers.k", "2", 2),
        ("finetune.updates", "1e2", 100),
        ("finetune.learning_rate", "1e-3", 0.001),
        ("finetune.warmup", 0, 0.0),
        ("awareness.pre_activation", "true", True),
        ("finetune.progress", "False", False),
        ("finetune.rows_per_pair", "none", None),
        ("layers.max_sentences", None, None),
        ("corpus.pairs", "en-de, de-en", ["en-de", "de-en"]),
        ("corpus.languages", ("en", "af"), ["en", "af"]),
        ("categories.normalize", "rank", "rank"),
        ("categories.normalize", "false", False),
        ("tuning.other_specific", "null", None),
        ("tuning.dtype", "none", None),
        ("tuning.dtype", "bfloat16", "bfloat16"),
        ("finetune.mixed_precision", "no", "no"),
        ("seed", "7", 7),
    ],
)
def test_overrides_are_converted(key, text, value):
    config = LanderConfig.from_profile("tiny-bloom", **{key: text})
    for part in key.split("."):
        config = getattr(config, part)
    assert config == value and type(config) is type(value)


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("categories.epsilom", 0.5, "did you mean categories.epsilon?"),
        ("categorie.epsilon", 0.5, "did you mean categories?"),
        ("tuning.routing", "lerned", "did you mean learned?"),
        ("layers.k", "four", "expected int"),
        ("layers.k", "4.5", "expected int"),
        ("layers.k", True, "expected int"),
        ("layers.k", "nan", "expected int"),
        ("layers.k", "inf", "expected int"),
        ("finetune.learning_rate", "fast", "expected float"),
        ("awareness.pre_activation", "maybe", "expected bool"),
        ("corpus.pairs", "", "expected a list"),
        ("corpus.pairs", "en-de,en", "'en'"),
        ("corpus.pairs", "en-en", "'en-en'"),
        ("finetune.mixed_precision", False, "quote it"),
        ("layers", 4, "is a section"),
        ("layers.k", "1e400", "expected int"),
        ("layers.k", 10**400, "expected int"),
        ("tuning.dtype", "float64", "choose one of None, float32"),
        ("evaluate.bootstrap", -1, "evaluate.bootstrap = -1 must be at least 0"),
        ("seed.value", 4, "single value"),
        ("categories.epsilon", "0", "0..1"),
        ("categories.epsilon", 1, "0..1"),
        ("categories.epsilon", "nan", "0..1"),
        ("layers.k", 0, "at least 1"),
        ("layers.k", 8, "at most 7"),
        ("finetune.batch_size", -1, "at least 1"),
        ("finetune.learning_rate", 0, "positive"),
        ("finetune.warmup", 1.0, "share of the updates"),
        ("finetune.max_grad_norm", -1, "finetune.max_grad_norm = -1.0 must be at least 0"),
        ("finetune.weight_decay", "-0.1", "finetune.weight_decay = -0.1 must be at least 0"),
        ("finetune.weight_decay", "nan", "finetune.weight_decay = nan must be at least 0"),
        (
            "finetune.learning_rate",
            "inf",
            "finetune.learning_rate = inf must be positive and finite",
        ),
        (
            "finetune.kl_weight",
            float("inf"),
            "finetune.kl_weight = inf must be at least 0, and below",
        ),
        ("finetune.batch_size", 10**30, "finetune.batch_size"),
        ("seed", 2**64, f"seed = {2**64} must be at least 0, and below 2^63"),
        ("seed", -1, "seed = -1 must be at least 0"),
        ("profile", "../../x", "profile = '../../x': a name, not a path"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(key, value, expected):
    with pytest.raises(ValueError) as error:
        LanderConfig.from_profile("tiny-bloom", **{key: value})
    assert expected in str(error.value)


def test_a_whole_number_is_right_where_its_decimal_is():
    for name in ("weight_decay", "max_grad_norm", "kl_weight"):
        FinetuneConfig(**{name: 0}).check()
    with pytest.raises(ValueError, match="finetune.weight_decay = -1 must be at least 0"):
        FinetuneConfig(weight_decay=-1).check()


@pytest.mark.parametrize("text", ["seed: 1\nseed: 2\n", "layers:\n  k: 2\n  k: 3\n"])
def test_a_key_that_is_there_twice_is_refused(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match="c.yaml is not valid YAML: the key '(seed|k)' is there"):
        LanderConfig.from_yaml(tmp_path / "c.yaml")


@pytest.mark.parametrize("key", ["layers.k", "tuning.routing", "profile"])
def test_a_message_shows_no_megabyte(key):
    with pytest.raises(ValueError) as error:
        LanderConfig.from_profile("tiny-bloom", **{key: "/" * 2**20})
    assert key in str(error.value) and len(str(error.value)) < 500


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean tiny-bloom"):
        LanderConfig.from_profile("tiny-blom")


def test_another_model_is_not_held_to_the_profiles_sizes():
    config = LanderConfig.from_profile(
        "tiny-bloom", **{"model.name_or_path": "bigscience/bloom-560m", "layers.k": 12}
    )
    assert config.layers.k == 12 and config.model.architecture == {}


def test_the_default_of_routing_is_said_once():
    assert ROUTINGS == ROUTES and DEFAULT_ROUTING in ROUTINGS
    assert LanderConfig().tuning.routing == DEFAULT_ROUTING == "learned"


def test_both_quantisations_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        LanderConfig.from_profile(
            "bloom-7b1", **{"model.load_in_4bit": True, "model.load_in_8bit": True}
        )


def test_yaml_round_trip_keeps_every_value(tmp_path):
    config = LanderConfig.from_profile(
        "bloom-7b1",
        **{
            "layers.k": 7,
            "corpus.template": "{source} → {target_language}:",
            "finetune.warmup": 0.25,
        },
    )
    config.to_yaml(tmp_path / "config.yaml")
    assert LanderConfig.from_yaml(tmp_path / "config.yaml") == config
    assert LanderConfig.from_yaml(tmp_path / "config.yaml", **{"seed": 3}).seed == 3
    assert config != LanderConfig.from_profile("bloom-7b1")


def test_configs_share_no_lists():
    first, second = LanderConfig(), LanderConfig()
    first.corpus.pairs.append("en-es")
    assert "en-es" not in second.corpus.pairs


@pytest.mark.parametrize(
    "text, expected",
    [
        ("- a\n- b\n", "must be a mapping"),
        ("a: [1", "not valid YAML"),
        ("layer: {k: 2}\n", "did you mean layers?"),
        ("layers: 3\n", "is a section"),
    ],
)
def test_bad_yaml_is_refused(tmp_path, text, expected):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError) as error:
        LanderConfig.from_yaml(tmp_path / "config.yaml")
    assert expected in str(error.value) and str(tmp_path / "config.yaml") in str(error.value)


def test_failed_write_leaves_the_old_config_whole(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    LanderConfig(seed=1).to_yaml(path)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        LanderConfig(seed=2).to_yaml(path)
    assert LanderConfig.from_yaml(path).seed == 1 and [p.name for p in tmp_path.iterdir()] == [
        "config.yaml"
    ]


@pytest.mark.parametrize(
    "name", ["./models/x", "data/models/nothing", "/nowhere/model", "corpus.jsonl", "a/b/c"]
)
def test_missing_local_paths_are_refused_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        resolve(name)


def test_hub_ids_and_existing_paths_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve("bigscience/bloom-560m") is None
    (tmp_path / "bigscience" / "bloom-560m").mkdir(parents=True)
    assert resolve("bigscience/bloom-560m").is_dir()


def test_packaged_data_inside_a_wheel_comes_first(tmp_path, monkeypatch):
    (tmp_path / "lander_lite" / "data").mkdir(parents=True)
    monkeypatch.setattr("lander_lite.config.PACKAGE", tmp_path / "lander_lite")
    assert data_dir() == tmp_path / "lander_lite" / "data"
