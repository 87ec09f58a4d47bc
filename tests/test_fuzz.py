"""Whatever is brought, a corpus, a setting or a damaged file, ends right or in one clear line.

Each random case has its kind and its seed. LANDER_FUZZ=600 makes so many of each kind."""

import copy
import json
import math
import os
import random
import shutil
import signal
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass

import pytest
import torch
import yaml
from conftest import SENTENCES
from safetensors import safe_open
from safetensors.torch import save_file

from lander_lite.awareness import AwarenessScores
from lander_lite.cli import main
from lander_lite.config import LanderConfig
from lander_lite.corpus import load_corpus, load_mono
from lander_lite.layers import LayerScores
from lander_lite.neurons import NeuronSets
from lander_lite.probes.knowledge import load_facts
from lander_lite.reproduction.results import load_results
from lander_lite.tuner.model import LanderModel

SEEDS = range(int(os.environ.get("LANDER_FUZZ", 5)))
LONGEST, SECONDS = 2200, 60  # characters of a message; a case that takes longer hangs
SETTINGS = {
    "corpus.pairs": "en-de,de-en",
    "finetune.updates": 2,
    "finetune.batch_size": 2,
    "finetune.progress": "false",
    "finetune.save_every": 1,
    "evaluate.bootstrap": 10,
    "evaluate.max_new_tokens": 4,
    "layers.k": 2,
}
SHORT = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
REFUSED = (ValueError, KeyError, FloatingPointError, OSError)  # what the library raises


@pytest.fixture(scope="module")
def made(tmp_path_factory, _bloom, tokenizer):
    """A folder with a model, a corpus and a whole run."""
    folder = tmp_path_factory.mktemp("made")
    _bloom.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [{"translation": dict(zip(SENTENCES, row))} for row in zip(*SENTENCES.values())]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["run", *flags(folder, folder / "run")]) == 0
    return folder


def flags(made, run):
    """The settings of a run with `made`'s corpus and model."""
    model = f"model.name_or_path={made / 'model'}"
    corpus = ["--corpus", str(made / "corpus.jsonl")]
    return [*corpus, "--set", model, *SHORT, "--output-dir", str(run)]


@contextmanager
def no_hang():
    def alarm(*_):
        raise KeyboardInterrupt("it hangs")  # no `except Exception` stops it

    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def accepted(arguments, capsys, *names):
    """Whether a command line works; what it refuses it must tell in one line with one of `names`
    (a traceback is an error of the test)."""
    with no_hang():
        code = main(list(map(str, arguments)))
    said = capsys.readouterr().err
    if code == 0:
        return True
    lines = [line for line in said.split("\n") if line.startswith("lander-lite: error: ")]
    assert code == 2 and len(lines) == 1 and len(lines[0]) < LONGEST, said[-3000:]
    assert any(name in lines[0] for name in names), lines[0]
    return False


def loaded(read, *names):
    """What a function of the library gives, or None where it refuses with one of `names`."""
    try:
        with no_hang():
            return read()
    except REFUSED as error:
        assert any(name in str(error) for name in names) and len(str(error)) < LONGEST, repr(error)


# ---------------------------------------------------------------- damage
WRONG = [
    None,
    "x",
    "",
    5,
    -1,
    1e30,
    math.inf,
    math.nan,
    True,
    [],
    {},
    [None],
    [[1]],
    {"a": 1},
    2**70,
]


def places(value, path=(), depth=3):
    """The paths to all values in a JSON object."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items if depth else ():
        yield (*path, key)
        yield from places(inner, (*path, key), depth - 1)


def changed(content, rng):
    """A JSON object with one value gone, wrong or too many; deep places are rarer."""
    content = copy.deepcopy(content)
    found = list(places(content, depth=rng.choice([1, 2, 3])))
    *path, last = rng.choice(found)
    holder = content
    for key in path:
        holder = holder[key]
    how = rng.choice(["gone", "wrong", "wrong", "more"])
    if how == "gone":
        del holder[last]
    elif how == "wrong":
        holder[last] = rng.choice(WRONG)
    elif isinstance(holder, dict):
        holder["unknown"] = 1
    else:
        holder.append(rng.choice(WRONG))
    return content


def damaged(data, rng):
    """Bytes cut off, with a flipped bit, others, more or none."""
    place = rng.randrange(len(data))
    flipped = bytes([data[place] ^ 1 << rng.randrange(8)])
    flipped = data[:place] + flipped + data[place + 1 :]
    others = [data[:place], rng.randbytes(99), bytes(len(data)), data + b"\0more", b""]
    return rng.choice([flipped, flipped, *others])


def damage_tensors(path, rng):
    """Change one tensor, or the JSON beside the tensors."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    name = rng.choice(sorted(tensors))
    x = tensors.pop(name)
    others = [
        x[None],
        x[:-1] if x.dim() else x,
        x.new_zeros(0),
        x.float() * math.nan,
        x + 10**5,
        -x,
        x.bool(),
        x.half(),
    ]
    how = rng.choice(["content", "content", "gone", "more", *["other"] * 3])
    if how == "other":
        tensors[name] = rng.choice(others).contiguous()
    elif how != "gone":
        tensors[name] = x
    if how == "more":
        tensors["unknown"] = x.clone()
    for key in metadata if how == "content" else ():
        is_json = metadata[key][:1] in "[{"
        metadata[key] = json.dumps(changed(json.loads(metadata[key]), rng)) if is_json else "x"
    save_file(tensors, path, metadata=metadata)


def damage(path, rng, others=()):
    """Damage a file in one of many ways; others: files that may take its place."""
    how = rng.choice(["bytes", "content", "content", "content", "folder", "other"])
    if how == "content" and path.suffix == ".json":
        path.write_text(json.dumps(changed(json.loads(path.read_text()), rng)))
    elif how == "content" and path.suffix == ".safetensors":
        damage_tensors(path, rng)
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "other" and others:
        shutil.copy(rng.choice(others), path)
    else:
        path.write_bytes(damaged(path.read_bytes(), rng))


# ---------------------------------------------------------------- (c) files
def tensors_of(path):
    with safe_open(path, "pt") as file:
        content = next((x for x in (file.metadata() or {}).values() if x[:1] == "{"), "{}")
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(content)


def same(first, second):
    return torch.equal(first.double().nan_to_num(7), second.double().nan_to_num(7))


def layers_hold(path):
    scores, content = LayerScores.load(path), json.loads(path.read_text())
    for name, value in vars(scores).items():
        if isinstance(value, torch.Tensor):
            assert same(value, torch.tensor(content[name]))
        else:
            assert repr(value) == repr(content.get(name, "signed"))


def scores_hold(path):
    scores, (tensors, content) = AwarenessScores.load(path), tensors_of(path)
    assert same(scores.values, tensors["values"])
    assert all(repr(getattr(scores, key)) == repr(value) for key, value in content.items())


def sets_hold(path):
    sets, (tensors, content) = NeuronSets.load(path), tensors_of(path)
    again, about = sets.as_tensors()
    assert repr(about | {"layers": 0}) == repr(content | {"layers": 0})
    assert again.keys() == tensors.keys()
    for name, x in tensors.items():
        is_set = not name.startswith("awareness.")
        assert same(again[name], x.flatten().sort().values if is_set else x)


def config_holds(path):
    stored, text = asdict(LanderConfig.from_yaml(path)), yaml.safe_load(path.read_text()) or {}
    for section, values in text.items():
        values = values if isinstance(values, dict) else {"": values}
        for key, value in values.items():
            found = stored[section][key] if key else stored[section]
            assert str(found) == str(value) or float(found) == float(value)


def same_tuned(run, made):
    for name in ("adapter_model.safetensors", "neuron_sets.safetensors"):
        assert (run / "lander" / name).read_bytes() == (made / "run/lander" / name).read_bytes()


def same_results(run, made):
    found, before = (json.loads((x / "results.json").read_text()) for x in (run, made / "run"))
    assert all(found[name] == before[name] for name in ("before", "after"))


FILES = {  # file: (the step that reads it, what must be true if it is accepted)
    "layers.json": ("score", lambda run, made: layers_hold(run / "layers.json")),
    "scores.safetensors": ("categorize", lambda run, made: scores_hold(run / "scores.safetensors")),
    "neurons.safetensors": ("finetune", lambda run, made: sets_hold(run / "neurons.safetensors")),
    "lander/neuron_sets.safetensors": ("translate", lambda run, made: None),
    "lander/adapter_config.json": ("translate", lambda run, made: None),
    "lander/adapter_model.safetensors": ("translate", lambda run, made: None),
    "results.json": ("evaluate", same_results),
    "training.json": ("evaluate", same_results),
    "config.yaml": ("score", lambda run, made: config_holds(run / "config.yaml")),
    "checkpoints/*/checkpoint-1/state.json": ("finetune", same_tuned),
    "checkpoints/*/checkpoint-1/parameters.safetensors": ("finetune", same_tuned),
    "checkpoints/*/checkpoint-1/optimizer.safetensors": ("finetune", same_tuned),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_a_run(made, tmp_path, capsys, name, seed):
    rng, run, (step, holds) = random.Random(f"{name} {seed}"), tmp_path / "run", FILES[name]
    shutil.copytree(made / "run", run)
    for later in run.glob("checkpoints/*/checkpoint-2"):
        shutil.rmtree(later)
    if name == "neurons.safetensors":
        shutil.rmtree(run / "checkpoints")
    others = [path for path in (made / "run").rglob("*") if path.is_file()]
    (path,) = run.glob(name)
    damage(path, rng, [other for other in others if other.suffix != path.suffix])
    text = ["--pairs", "en-de", "--text", "the dog"] if step == "translate" else []
    # a damaged file of the right kind may be refused by what is in it, not by its name
    names = [path.name, "of another save", "layer", "neuron", "score", "config.yaml", "finite"]
    names += ["holds a run with another", "no corpus given", " = "] if name == "config.yaml" else []
    if accepted([step, "--output-dir", run, *text], capsys, *names):
        holds(run, made)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "name", ["adapter_config.json", "adapter_model.safetensors", "neuron_sets.safetensors"]
)
def test_a_damaged_tuned_model(made, bloom, tmp_path, name, seed):
    rng, folder = random.Random(f"{name} {seed}"), tmp_path / "lander"
    shutil.copytree(made / "run" / "lander", folder)
    damage(folder / name, rng, [made / "run" / "layers.json", made / "run" / "scores.safetensors"])
    lander = loaded(lambda: LanderModel.from_pretrained(bloom, folder), "lander")
    if lander is None:
        assert not any("lander_" in key for key in bloom.state_dict())
        return
    sets_hold(folder / "neuron_sets.safetensors")
    tensors, _ = tensors_of(folder / "adapter_model.safetensors")
    state = {key.replace(".default", ""): p for key, p in lander.state_dict().items()}
    assert all(same(state[key], x.to(state[key].dtype)) for key, x in tensors.items())
    content = json.loads((folder / "adapter_config.json").read_text())
    tuning = lander.peft_config["default"]
    for key in ("routing", "other_specific", "dtype"):
        assert key not in content or getattr(tuning, key) == content[key]


MODEL_FILES = ["config.json", "generation_config.json", "model.safetensors"]
MODEL_FILES += ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_damaged_model(made, tmp_path, capsys, name, seed):
    """Accepted, it may be another model, but it works to the end."""
    rng, model = random.Random(f"{name} {seed}"), tmp_path / "model"
    shutil.copytree(made / "model", model)
    damage(model / name, rng, [made / "run" / "layers.json"])
    command = ["run", *flags(made, tmp_path / "run"), "--set", f"model.name_or_path={model}"]
    names = [str(model), "not finite", "positions", "EOS", "pad", "another thing", "embeddings"]
    accepted(command, capsys, *names)


PUBLISHED = [None, 5, "x", [], {}, [1], torch.tensor(3), torch.tensor([1.5]), torch.tensor([-1])]
PUBLISHED += [torch.tensor([math.nan]), torch.tensor([True]), torch.tensor([1, 1]), torch.zeros(0)]
PUBLISHED += [torch.tensor([1j]), torch.zeros(3, device="meta"), torch.tensor([2**62])]


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("value", range(len(PUBLISHED)))
def test_a_damaged_published_file(tmp_path, value, level):
    content, value = [[torch.tensor([0, 2]), torch.tensor([1])] for _ in "ab"], PUBLISHED[value]
    if level == 0:
        content = value
    elif level == 1:
        content[1] = value
    else:
        content[1][0] = value
    torch.save(content, tmp_path / "sets.pt")
    sets = loaded(lambda: NeuronSets.from_lape_file(tmp_path / "sets.pt", ["en", "de"]), "sets.pt")
    if sets is not None:
        assert level == 2 and sets.specific["de"][0].tolist() == value.flatten().tolist()


RESULT = {
    "kind": "main",
    "method": "full",
    "profile": "p",
    "seed": 0,
    "settings": {},
    "learning_rate": 0.1,
    "mean": {"bleu": 1.0, "chrf": 2.0},
    "pairs": {"en-de": {"bleu": 1.0}},
    "base_model": {"d_ff": 8},
    "corpus": "a",
}


@pytest.mark.parametrize("seed", range(4 * len(SEEDS)))
def test_a_damaged_result_of_a_study(tmp_path, seed):
    path = tmp_path / "main" / "full-seed0.json"
    path.parent.mkdir()
    path.write_text(json.dumps(RESULT))
    damage(path, random.Random(seed))
    found = loaded(lambda: load_results(tmp_path), path.name)
    assert found is None or repr(found) == repr([json.loads(path.read_text())])


# ---------------------------------------------------------------- (b) settings
def settings(config, prefix=""):
    for spec in fields(config):
        value = getattr(config, spec.name)
        inner = settings(value, f"{prefix}{spec.name}.") if is_dataclass(value) else ()
        yield from inner or [f"{prefix}{spec.name}"]


VALUES = ["nan", "inf", "-inf", "-1", "0", "1e12", "1", "0.5", str(2**63), "1" * 400, "x", "", "[]"]
VALUES += [
    "{}",
    "[1]",
    "true",
    "no",
    "ü\u2028",
    "none",
    "\0",
    "1e-320",
    "~",
    "../x",
    "en,de",
    "1_0",
]
KEYS = sorted(settings(LanderConfig()))


@pytest.mark.parametrize("key", KEYS)
def test_a_setting_of_the_wrong_kind(key):
    """What `check` accepts is what was written; the steps see no other settings."""
    for value in [*VALUES, *WRONG]:
        make = lambda: LanderConfig.from_profile("tiny-bloom", **{key: value})  # noqa: B023, E731
        config = loaded(make, key, "unknown profile", "not a translation direction", "template")
        if config is None or value in ("", "none", None):
            continue
        found = config
        for part in key.split("."):
            found = getattr(found, part)
        if isinstance(found, bool):
            assert str(value).lower() == str(found).lower()
        elif isinstance(found, (int, float)):
            assert float(value) == found
        elif isinstance(found, str):
            assert found == str(value)


@pytest.mark.parametrize("seed", range(6 * len(SEEDS)))
def test_a_setting_that_is_accepted_works_or_is_refused_before_any_work(
    made, tmp_path, capsys, seed
):
    rng = random.Random(seed)
    long = ("finetune.updates", "profile")  # a million updates are what was asked for
    key = rng.choice([key for key in KEYS if key not in long])
    command = [*flags(made, tmp_path / "run"), "--set", f"{key}={rng.choice(VALUES)}"]
    names = [key, key.rpartition(".")[2], "corpus.names", "max_length", "bitsandbytes", "corpus: "]
    names += ["model.name_or_path"]
    if not accepted(["run", *command], capsys, *names):
        assert not list((tmp_path / "run").glob("*.safetensors")), "work was lost"


SIZES = "hidden_size num_hidden_layers vocab_size num_attention_heads model_type hidden_act".split()
SIZES += ["num_key_value_heads", "eos_token_id", "tie_word_embeddings", "nonsense", "head_dim"]


@pytest.mark.parametrize("seed", range(4 * len(SEEDS)))
@pytest.mark.parametrize("step", ["plan", "detect"])
def test_an_architecture_that_can_not_be(made, tmp_path, capsys, step, seed):
    rng = random.Random(f"{step} {seed}")
    size = f"model.architecture.{rng.choice(SIZES)}={rng.choice([*VALUES, '3', '7', '.inf'])}"
    profile = ["--profile", rng.choice(["tiny-bloom", "tiny-llama"])]
    command = [*flags(made, tmp_path / "run"), "--set", size, "--set", "model.random_weights=true"]
    command += ["--set", "model.name_or_path=data/models/tiny-bloom"]
    accepted([step, *profile, *command], capsys, "architecture", "layers", "positions", "token")


YAML = [
    "seed: !!python/object/apply:os.system ['true']",
    "a: &a [*a]",
    "layers: &x {k: 2}\nawareness: *x",
    "layers: {k: 0o7}\nseed: 1_000",
    "seed: 2020-01-01",
    "a: 1\n---\nb: 2",
    "? [1, 2]\n: 3",
    "null: 3",
    "layers: null",
    "layers: []",
    "corpus: {pairs: [en-de, no]}",
    "corpus: {languages: [en, no]}",
    "corpus: {names: [en]}",
    "corpus: {template: '{source:>999999999999}'}",
    "corpus: {template: '{source.x}'}",
    "model: {architecture: {5: 6}}",
    "model: {architecture: [1]}",
    "layers: {<<: {k: 3}, k: 3}",
    "[" * 3000,
    "- " * 2000,
    "x" * 10**6 + ": 1",
    "seed: " + "x" * 10**6,
    "\t",
    "\0",
    "seed: !!int x",
    "%YAML 9.9\n---\nseed: 1",
]


@pytest.mark.parametrize("number", range(len(YAML)))
def test_odd_yaml(tmp_path, capsys, number):
    path = tmp_path / "c.yaml"
    path.write_text(YAML[number])
    names = ["c.yaml", "corpus.", "template", "no corpus given"]
    assert not accepted(["detect", "--config", path, "--output-dir", tmp_path], capsys, *names)


# ---------------------------------------------------------------- (a) corpora
TEXTS = [
    "\u2028",
    "a\0b",
    "\ufeffa",
    "",
    "w" * 1200,
    "x" * 100_001,
    "e\u0301" * 9,
    "{source}",
    "\x85",
]
ROWS = [{"translation": dict(zip(SENTENCES, row))} for row in zip(*SENTENCES.values())]


def odd_bytes(data, rng):
    """Another encoding, other line ends, blank lines; or plain damage."""
    text = data.decode()
    latin = text.encode("latin1", "replace")
    found = [b"\xef\xbb\xbf" + data, text.encode("utf-16"), latin, data.replace(b"\n", b"\r\n")]
    found += [data.replace(b"\n", b"\r"), data.replace(b"\n", b"\n\n", 1), b"\n \n", data[:-1]]
    found += [data.replace(b" ", b"\xed\xa0\x80", 1), data.replace(b" ", b"\xe2\x80\xa8")]
    return rng.choice([*found, damaged(data, rng)])


def odd_rows(rng):
    rows = copy.deepcopy(ROWS)
    row = rng.choice(rows)
    language = rng.choice(list(SENTENCES))
    how = rng.choice(
        ["text", "text", "value", "gone", "row", "translation", "column", "ids", "key"]
    )
    if how in ("text", "value"):
        row["translation"][language] = rng.choice(TEXTS if how == "text" else WRONG)
    elif how == "gone":
        del row["translation"][language]
    elif how == "row":
        rows[rows.index(row)] = rng.choice(WRONG)
    elif how == "ids":
        for number, one in enumerate(rows):
            one["id"] = 3 ** (20 * number)
    elif how == "key":
        row["translation"][rng.choice(["", "EN", "en-de", "日本", "x" * 99])] = "text"
    else:
        row[how] = rng.choice(WRONG)
    return rows


def odd_folder(folder, rng):
    """Text files, one a language or one a side of a pair, of which one is odd."""
    of_pairs = rng.random() < 0.4
    for language in SENTENCES:
        names = [f"en-{x}.{language}" for x in ("de", "zh") if language in ("en", x)]
        for name in names if of_pairs else [language]:
            sentences = (row["translation"][language] + "\n" for row in ROWS)
            (folder / f"train.{name}").write_text("".join(sentences), encoding="utf-8")
    path = rng.choice(sorted(folder.iterdir()))
    data = path.read_bytes()
    how = rng.choice(["bytes", "bytes", "gone", "folder", "link", "more", "fewer", "test", "long"])
    if how in ("gone", "folder", "link"):
        path.unlink()
    if how == "bytes":
        path.write_bytes(odd_bytes(data, rng))
    elif how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to(folder / rng.choice(["nowhere", path.name]))
    elif how == "more":
        (folder / rng.choice(["train.txt", "train.EN", "train.tsv", "train.en_US"])).write_bytes(
            data
        )
    elif how == "fewer":
        path.write_bytes(data.partition(b"\n")[2])
    elif how == "test":
        (folder / "test.jsonl").write_bytes(
            rng.choice([b"", b"{", b'{"translation": {"en": "a"}}'])
        )
    elif how == "long":
        path.write_bytes(b"word " * 250_000 + b"\nx" * 5)


@pytest.mark.parametrize("seed", range(4 * len(SEEDS)))
@pytest.mark.parametrize("kind", ["corpus.jsonl", "corpus.json", "corpus.tsv", "corpus"])
def test_an_odd_corpus(made, tmp_path, capsys, kind, seed):
    rng, path = random.Random(f"{kind} {seed}"), tmp_path / kind
    lines = ["\t".join(SENTENCES), *("\t".join(row["translation"].values()) for row in ROWS)]
    rows = odd_rows(rng) if rng.random() < 0.5 else ROWS
    data = {
        "corpus.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
        "corpus.json": json.dumps(rows),
        "corpus.tsv": "\n".join(lines) + "\n",
    }
    if kind == "corpus":
        path.mkdir()
        odd_folder(path, rng)
    else:
        data = data[kind].encode()
        path.write_bytes(odd_bytes(data, rng) if rows is ROWS else data)
    how = rng.choice(
        [[], [], ["--set", "corpus.empty=skip"], ["--set", "awareness.text=translation"]]
    )
    command = ["run", *flags(made, tmp_path / "run"), "--corpus", path, *how]
    if not accepted(command, capsys, "corpus", "awareness.text"):
        assert not list((tmp_path / "run").glob("*.safetensors")), "work was lost"
    elif kind == "corpus.jsonl" and not how:
        there = [
            json.loads(line) for line in path.read_text("utf-8-sig").split("\n") if line.strip()
        ]
        for found, row in zip(load_corpus(path), there, strict=True):
            for language, text in row["translation"].items():
                assert found["translation"][language] == (
                    text and " ".join(text.splitlines()).strip()
                )


@pytest.mark.parametrize("seed", range(2 * len(SEEDS)))
@pytest.mark.parametrize("read", [load_mono, load_facts])
def test_odd_plain_text_and_facts(tmp_path, read, seed):
    rng, path = random.Random(f"{read.__name__} {seed}"), tmp_path / "rows.jsonl"
    rows = [{"lang": "en", "text": "a b", "prompt": "a", "answer": "b"} for _ in range(4)]
    if rng.random() < 0.6:
        rows[rng.randrange(4)][rng.choice([*rows[0]])] = rng.choice([*WRONG, *TEXTS])
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(data if rng.random() < 0.5 else odd_bytes(data, rng))
    loaded(lambda: read(path), path.name)


# ---------------------------------------------------------------- what was found once
ROW, MODEL = "corpus.jsonl", "model"
FOUND = [  # (what is changed, how, more flags, what is said)
    (ROW, {"id": 2**70}, [], "values of different types"),
    (ROW, {"translation": {"en": "a b", "zh": "a b"}}, [], "the test part of the corpus: pair"),
    (ROW, {}, ["--set", "awareness.text=translation"], "no pair has 'zh'"),
    (ROW, {}, ["--corpus", ""], "--corpus is empty (an unset variable?)"),
    (ROW, {}, ["--set", "corpus.template={source:>999999999999}"], "the template"),
    (MODEL, {"n_layer": "x"}, [], "config.json: Validation error for field 'n_layer'"),
    (MODEL, {"model_type": [1]}, [], "config.json: unhashable"),
    (MODEL, {"n_head": 0}, [], "model: "),
]


@pytest.mark.parametrize("number", range(len(FOUND)))
def test_what_was_found_once(made, tmp_path, capsys, number):
    what, change, more, said = FOUND[number]
    shutil.copytree(made / "model", tmp_path / "model")
    rows = [{**row, "id": 1} for row in ROWS]
    if what == ROW:
        rows[-1] |= change
    else:
        path = tmp_path / "model" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    (tmp_path / ROW).write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [*flags(tmp_path, tmp_path / "run"), *more]
    assert not accepted(["run", *command], capsys, said)
    assert not (tmp_path / "run").exists()


def test_a_file_of_another_kind_is_no_results(made, tmp_path, capsys):
    shutil.copytree(made / "run", tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text('{"identity": "a checkpoint\'s"}')
    command = ["evaluate", "--output-dir", tmp_path / "run"]
    assert not accepted(command, capsys, "results.json is damaged or of another version: no 'prof")
