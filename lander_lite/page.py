"""report.html of a run folder: one page, made of the folder's files alone, that needs no network.
The template escapes what it is given: translations and settings are not ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, StrictUndefined

from .config import PACKAGE
from .io import content_of, write_text
from .languages import language_name, parse_pair
from .layers import MEASURES, LayerScores
from .neurons import NeuronSets
from .stored import check_kinds, read_json

NAME = "report.html"
SHOWN = 20  # translations, of all directions together
POINTS = 150  # of the loss curve
NAMES = {"before": "base", "after": "tuned"}  # the models, as the page calls them


def write_page(folder: str | Path) -> Path:
    """Write report.html into a run folder, from whatever of the run is there; returns its path. A
    part that is missing or damaged is one line of the page.

    Raises: FileNotFoundError for a folder without config.yaml.
    """
    folder = Path(folder)
    check_run(folder)
    parts = {
        "settings": part(folder / "config.yaml", "run", settings),
        "layers": part(folder / "layers.json", "detect", layers),
        "neurons": part(folder / "neurons.safetensors", "categorize", neurons),
        "training": part(folder / "training.json", "finetune", training),
        "results": part(folder / "results.json", "evaluate", results),
        "translations": part(folder / "translations.json", "evaluate", translations),
    }
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = page.from_string((PACKAGE / "page.html").read_text(encoding="utf-8"))
    write_text(folder / NAME, template.render(folder=folder.resolve().name, **parts))
    return folder / NAME


def check_run(folder: Path) -> None:
    """Raise FileNotFoundError for a folder in which no run was started."""
    if not (folder / "config.yaml").is_file():
        remedy = "give the --output-dir of a run, or start one with `lander-lite run`"
        raise FileNotFoundError(f"{folder} holds no run (no config.yaml): {remedy}")


def part(path: Path, step: str, read: Callable[[Path], dict]) -> dict:
    """What a part of the page shows, or {"missing": why it can't}."""
    if not path.exists():
        return {"missing": f"There is no {path.name} yet: `lander-lite {step}` writes it."}
    try:
        with content_of(path):
            return read(path)
    except (ValueError, OSError) as error:
        return {"missing": str(error)}


def settings(path: Path) -> dict:
    return {"text": path.read_text(encoding="utf-8")}


def layers(path: Path) -> dict:
    """One bar per block from block 1 on, the mean over the pairs of what chose the blocks."""
    scores = LayerScores.load(path)
    values = getattr(scores, MEASURES[scores.method]).mean(dim=0).tolist()
    bars = [(block, value, block in scores.selected) for block, value in enumerate(values, 1)]
    return {"bars": bars, "selected": scores.selected, "measure": MEASURES[scores.method]}


def neurons(path: Path) -> dict:
    """Specific neurons per language and block; how many are general."""
    sets = NeuronSets.load(path)
    counts = sets.counts()
    rows = [(language_name(x), list(of.values())) for x, of in counts["specific"].items()]
    general = sum(counts["general"].values())
    return {"rows": rows, "blocks": sets.layers, "general": general, "d_ff": sets.d_ff}


def training(path: Path) -> dict:
    """Points (update, loss) of a curve; each is the mean of `width` updates."""
    losses = read_json(path, {"loss": list[float]})["loss"]
    width = -(-len(losses) // POINTS)
    starts = range(0, len(losses), width)
    points = [(start, fmean(losses[start : start + width])) for start in starts]
    return {"points": points, "width": width, "updates": len(losses)}


def results(path: Path) -> dict:
    """A row per direction and model: BLEU, its interval, chrF2, off-target rate."""
    content = read_json(path, {"before": dict, "versions": dict, "test_rows": int})
    found = {NAMES[key]: content[key] for key in NAMES if key in content}
    pairs = [key for key in content["before"] if key not in ("mean", "signature")]
    rows = [(pair, {name: found[name][pair] for name in found}) for pair in pairs]
    scores = [one for _, models in rows for one in models.values()]
    for one in scores:
        check_kinds(one, {"bleu": float, "chrf": float, "off_target": float, "n": int})
        one["low"], one["high"] = one["bleu_ci"] or (one["bleu"], one["bleu"])
    means = {name: of["mean"] for name, of in found.items()}
    bleu = content["before"]["signature"]["bleu"].values()
    signatures = [*bleu, content["before"]["signature"]["chrf"]]
    about = {key: content[key] for key in ("profile", "seed", "test_rows")}
    about |= content["versions"]
    most = max(1, *(one["high"] for one in scores))  # of the axis
    return dict(rows=rows, means=means, most=most, signatures=signatures, about=about)


def translations(path: Path) -> dict:
    """About SHOWN sentences, evenly spaced over the test part, as many of every direction."""
    rows, content = [], read_json(path, {})
    each = -(-SHOWN // len(content))
    for number, (pair, columns) in enumerate(content.items()):
        check_kinds(columns, dict.fromkeys(("source", "reference", "before"), list[str]))
        languages = dict(zip(("source", "target"), parse_pair(pair)))
        columns = {NAMES.get(name, name): column for name, column in columns.items()}
        sentences = [dict(zip(columns, row)) for row in zip(*columns.values(), strict=True)]
        step = max(1, len(sentences) // each)
        chosen = sentences[number % step :: step][:each]  # not the same rows for all
        rows += [{"pair": pair, **languages, "texts": x} for x in chosen]
    return {"rows": rows[:SHOWN]}
