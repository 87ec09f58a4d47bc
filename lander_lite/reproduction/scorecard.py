"""Every claim of the papers beside what we measured. The verdicts follow from the result files by
stated rules: verdicts.py, and the folder claims/.

`python -m lander_lite.reproduction.scorecard FOLDER [SECOND FOLDER]` prints the table, stores it as
FOLDER/scorecard.json, and the bootstrap comparisons beside the results. Without folders it reads
those of data/results; then `python -m lander_lite.reproduction.pages` writes the pages again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from ..config import PACKAGE, data_dir
from ..io import write_text
from .claims import CLAIMS
from .claims.router import at_equal_rates
from .evidence import Claim, Difference, NotMeasured, Study, if_measured, minus
from .kinds import LANDER
from .statistics import mean_interval
from .tables import markdown_table
from .verdicts import (
    ALPHA,
    CANNOT_TELL,
    CONTRADICTED,
    NOT_MEASURED,
    REPRODUCED,
    UNITS,
    VERDICTS,
    Part,
    deciding,
    holm,
    p_of,
    told,
    verdict_of,
    within,
)


@dataclass(frozen=True)
class Row(Claim):
    """A claim with its verdict. measured: our numbers with 95% intervals. parts: its conditions.
    control: the claim's, and its numbers. p: of the verdict, and `adjusted` for all claims of the
    scorecard together (Holm)."""

    measured: str
    parts: tuple[Part, ...]
    verdict: str
    p: float = 1.0
    adjusted: float = 1.0

    @property
    def corrected(self) -> str:
        """The verdict that is left when all claims are judged together."""
        return self.verdict if self.adjusted < ALPHA or not self.parts else CANNOT_TELL

    @property
    def dagger(self) -> str:
        """† where Holm leaves the verdict."""
        return "†" * (self.corrected == self.verdict and self.verdict in (REPRODUCED, CONTRADICTED))

    @property
    def decides(self) -> Part | None:
        """The part that the verdict hangs on."""
        return deciding(self.parts) if self.parts else None


def scorecard(folder, second=None, claims: Sequence[Claim] = CLAIMS) -> list[Row]:
    """One row per claim, from the results in `folder` (as a study writes them) and in `second`,
    those of another architecture. Either may be a `Study`. A claim whose files are missing is "not
    measured" and says which.

    claims: add your own `evidence.Claim` to the list."""
    study, other = (x if x is None or isinstance(x, Study) else Study(x) for x in (folder, second))
    rows = [row(claim, study, other) for claim in claims]
    adjusted = iter(holm([one.p for one in rows if one.parts]))
    return [replace(one, adjusted=next(adjusted)) if one.parts else one for one in rows]


def alone(folder) -> list[Row]:
    """`scorecard` of a single model: what should hold on both models is judged on this one."""
    study = folder if isinstance(folder, Study) else Study(folder)
    return scorecard(study, study)


def row(claim: Claim, study: Study, second: Study | None = None) -> Row:
    """The row of one claim, `adjusted` for no other."""
    try:
        finding = claim.function(study, second)
    except NotMeasured as missing:
        return Row(**vars(claim), measured=f"missing: {missing}", parts=(), verdict=NOT_MEASURED)
    parts, p = tuple(finding.parts), p_of(finding.parts)
    control = f"{claim.control}: {finding.control}" if finding.control else claim.control
    return Row(
        **vars(claim) | {"control": control},
        measured=finding.measured + told(parts),
        parts=parts,
        verdict=verdict_of(parts),
        p=p,
        adjusted=p,
    )


BY_ANALYSES = ("L1", "L3", "L4", "L5", "L13", "S1", "P1")  # no training decides them


def of_base_models(studies: Sequence[Study]) -> dict[str, list[Row]]:
    """{claim: its row on each base model}, of the claims that analyses alone decide. They need no
    training, so base models can be what varies: other seeds of the pre-training, another
    architecture."""
    claims = [claim for claim in CLAIMS if claim.id in BY_ANALYSES]
    found = {claim.id: [row(claim, study, study) for study in studies] for claim in claims}
    return {name: rows for name, rows in found.items() if all(one.parts for one in rows)}


def over_models(rows: Sequence[Row]) -> Row:
    """One claim over base models that differ by their seed: each part's mean over models, with
    Student's interval in place of each model's own. A bound that models set is the mean of
    theirs."""
    parts = []
    for same in zip(*(one.parts for one in rows), strict=True):
        mean, _, low, high = mean_interval([part.mean for part in same])
        bound = fmean(part.bound for part in same)
        found = {"mean": mean, "interval": (low, high), "bound": bound}
        parts.append(replace(same[0], **found, n=len(same), varies="base models"))
    p = p_of(parts)
    return replace(rows[0], parts=tuple(parts), verdict=verdict_of(parts), p=p, adjusted=p)


def base_models_table(seeds: Sequence[Study], others: Sequence[Study]) -> str:
    """Markdown: a line per claim that analyses decide. The part that decides over base models that
    differ by their seed, with its verdict over them; the same part of each of these, and of the
    `others`; and where all parts of a model give another verdict than that, which."""
    table = []
    for name, rows in of_base_models([*seeds, *others]).items():
        over = over_models(rows[: len(seeds)])
        decides = over.decides
        cells = []
        for one in rows:
            part = one.parts[over.parts.index(decides)]
            cells.append(part.number.strip())
            if one.verdict != over.verdict:
                cells[-1] += f", **{one.verdict}**"
        number = f"{decides.number.strip()}: **{over.verdict}**"
        table.append((name, decides.name.split(": ")[-1], number, *cells))
    names = [study.name for study in (*seeds, *others)]
    return markdown_table(("", "decided by", f"over {len(seeds)} seeds", *names), table) + "\n"


HEADER = ("", "claim", "the paper", "we measured", "decided by", "n", "would be seen")
HEADER += ("control", "verdict", "all together", "shown in")


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, without the rules, for a page beside the notebooks."""
    lines = []
    for row in rows:
        there = (PACKAGE.parent / "notebooks" / row.shown_in.partition("#")[0]).is_file()
        link = f"[{row.lesson}]({row.shown_in})" if there else f"{row.lesson}, planned"
        cells = [row.id, row.claim, row.paper, row.measured, *decision(row.decides), row.control]
        lines.append([*cells, f"**{row.verdict}**", together(row), link])
    return markdown_table(HEADER, lines)


def decision(part: Part | None) -> tuple[str, str, str]:
    """What decides, over how many, and the smallest effect that would have been seen."""
    if part is None:
        return "", "", ""
    number = f"{part.name}: {part.number.strip()}" + f", bound {part.bound:.3g}" * bool(part.bound)
    visible = "–"
    if part.visible is not None:
        visible = f"{part.visible:{UNITS[part.unit].form}} {part.unit}".strip()
    return number, f"{part.n} {part.varies}", visible


def together(row: Row) -> str:
    """The verdict after Holm's correction, and its p."""
    return f"{row.corrected} (p {row.adjusted:.2g})" if row.parts else ""


def counted(rows: Sequence[Row]) -> str:
    """How many claims have each verdict, as a sentence, and how many keep it."""
    counts = {x: sum(row.verdict == x for row in rows) for x in VERDICTS}
    kept = [row.corrected for row in rows]
    numbers = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    left = " and ".join(f"{kept.count(x)} {x}" for x in VERDICTS[:2])
    return f"Of {len(rows)} claims: {numbers}. With all of them judged together, {left} remain."


def verdict_lists(rows: Sequence[Row]) -> str:
    """Markdown: the counts, then the claims by verdict; † where Holm leaves it."""
    lines = [counted(rows), ""]
    for verdict in VERDICTS:
        found = [row for row in rows if row.verdict == verdict]
        names = "; ".join(f"{row.id}{row.dagger} {row.claim}" for row in found)
        if names:
            lines.append(f"- **{verdict}**: {names}.")
    return "\n".join(lines) + "\n"


def as_json(rows: Sequence[Row]) -> str:
    """All rows with their parts, for other programs; four digits of each number."""
    computed = ("verdict", "p", "worth", "visible")
    content = []
    for row in rows:
        parts = [vars(x) | {name: getattr(x, name) for name in computed} for x in row.parts]
        fields = vars(row) | {"corrected": row.corrected, "parts": parts}
        content.append({name: x for name, x in fields.items() if name != "function"})
    rounded = json.loads(json.dumps(content), parse_float=lambda x: float(f"{float(x):.4g}"))
    return json.dumps(rounded, indent=1, ensure_ascii=False) + "\n"


def rules(rows: Sequence[Row]) -> str:
    """The rule of each claim, as a list."""
    return "\n".join(f"- **{row.id}, {row.claim}.** {row.rule}" for row in rows)


# ---------------------------------------------------------------- what explains it
STEPS = {
    "only the selected layers": ("layers", "full"),
    "only the pair's neurons": ("lander-none", "layers"),
    "the router": (LANDER, "lander-none"),
}  # the way from full tuning to LANDeRMT, one change at a time
ASIDE = {
    "attention of these layers, too": ("layers-block", "layers"),
    "random layers": ("random-layers", "layers"),
    "random layers, not the first": ("random-layers-above", "layers"),
    "random neurons": ("random", "lander-none"),
    "router as printed": ("lander-literal", "lander-none"),
}


def steps(study: Study) -> dict[str, Difference]:
    """{change: difference over matched seeds} of STEPS and ASIDE, those that are measured."""
    differences = {}
    for name, (first, second) in (STEPS | ASIDE).items():
        try:
            differences[name] = study.difference("main", first, second)
        except NotMeasured:
            continue
    return differences


def explanations(study: Study) -> list[str]:
    """What the files say about the reasons, in sentences; one whose files are missing, or which
    does not hold, is left out."""
    sentences = []
    for explanation in EXPLANATIONS:
        try:
            sentences.append(explanation(study))
        except NotMeasured:
            continue
    return [sentence for sentence in sentences if sentence]


def _scalars(study: Study, method: str) -> int:
    """How many parameters a method trains."""
    return study.runs("main", method)[0].get("trainable", 0)


def _effect(study: Study, first: str, second: str) -> str:
    """What it changes to train `first` in place of `second`."""
    return gain_or_loss(study.difference("main", first, second))


def gain_or_loss(difference: Difference) -> str:
    """A difference with its verdict."""
    verdict = "no difference within 1" if within(difference.interval) else "cannot tell"
    if difference.above or difference.below:
        verdict = "a gain" if difference.above else "a loss"
    return f"{difference.text} BLEU, {verdict}"


def _by_layers(study: Study) -> str:
    share = _scalars(study, "layers") / _scalars(study, "full")
    change = _effect(study, "layers", "full")
    return f"Only the selected layers: {change}, with {share:.0%} of the scalars."


def _by_union_of_sets(study: Study) -> str | None:
    share = _scalars(study, "lander-none") / _scalars(study, "layers")
    if share <= 0.99:
        return None
    return (
        f"Over all directions LANDeRMT trains {share:.1%} of what `layers` trains: each neuron of "
        f"these layers belongs to some direction. The two differ only in which batch changes which "
        f"neuron."
    )


def _by_neurons(study: Study) -> str:
    return f"Random neurons in place of the chosen ones: {_effect(study, 'random', 'lander-none')}."


def _by_router(study: Study) -> str:
    return (
        f"The router: {_effect(study, LANDER, 'lander-none')}. As printed: "
        f"{_effect(study, 'lander-literal', 'lander-none')}. At equal learning rates, for a "
        f"change of step size looks alike: {if_measured(lambda: at_equal_rates(study))}."
    )


def _by_size(study: Study) -> str | None:
    ahead = study.difference("main", "lora", LANDER)
    lora, lander = _scalars(study, "lora"), _scalars(study, LANDER)
    if lora >= lander or not ahead.above:
        return None
    return (
        f"LoRA trains {lora:,} scalars, LANDeRMT {lander:,}, and LoRA is ahead: the number of "
        f"scalars is not the reason."
    )


def _by_depth(study: Study) -> str:
    most = max(run["settings"]["k"] for run in study.runs("k", LANDER))
    few = len(study.runs("main", LANDER)[0]["layers"])
    deep, shallow = (study.values("k", LANDER, k=k, where="selected") for k in (most, few))
    change = gain_or_loss(minus("", deep, shallow))
    return f"LANDeRMT in all {most} layers in place of {few}: {change}."


def _by_learning_rate(study: Study) -> str:
    at_the_edge = []
    for method in dict.fromkeys(run["method"] for run in study.runs("main")):
        run = study.runs("main", method)[0]
        rates = sorted(map(float, run["grid"]))
        if run["learning_rate"] in rates[:1] + rates[-1:]:
            at_the_edge.append(f"{method} {run['learning_rate']:g}")
    return (
        f"Best learning rate at an end of its grid, so that one beyond may be better: "
        f"{', '.join(at_the_edge) or 'no method'}."
    )


EXPLANATIONS: tuple[Callable[[Study], str | None], ...] = (
    _by_layers,
    _by_union_of_sets,
    _by_neurons,
    _by_router,
    _by_size,
    _by_depth,
    _by_learning_rate,
)


if __name__ == "__main__":
    folders = [Study(path) for path in sys.argv[1:3]] or [
        Study(data_dir() / "results" / name) for name in ("tiny-bloom", "tiny-llama")
    ]
    rows = scorecard(*folders)
    print(as_markdown(rows), counted(rows), sep="\n\n")
    write_text(folders[0].folder / "scorecard.json", as_json(rows))
    for folder in folders:
        if folder.bootstraps:
            folder.save_bootstraps()
