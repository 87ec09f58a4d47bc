"""Every claim of the paper beside what we measured. The verdicts follow from the result files by
stated rules: claims_*.py.

`python -m lander_lite.scorecard FOLDER [SECOND FOLDER]` prints the table and stores the bootstrap
comparisons beside the results.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..config import PACKAGE, data_dir
from .claims import neighbours as claims_neighbours
from .claims import neurons as claims_neurons
from .claims import tuning as claims_tuning
from .evidence import Difference, NotMeasured, Study, minus
from .specs import LANDER

VERDICTS = {True: "reproduced", False: "not reproduced", None: "not testable here"}
NOT_YET = "not measured yet"
CLAIMS = [
    *sorted(
        [*claims_neurons.CLAIMS, *claims_tuning.CLAIMS],
        key=lambda function: int(function.about["id"][1:]),
    ),
    *claims_neighbours.CLAIMS,
]


@dataclass(frozen=True)
class Row:
    """One claim. paper: what it says, with table or figure. measured: our numbers with 95%
    intervals. seeds: trainings, or blocks of
    sentences where nothing is trained. rule: how the verdict is made. shown_in: the lesson's file
    and heading, FILE.ipynb#Heading."""

    id: str
    claim: str
    paper: str
    measured: str
    seeds: int
    control: str
    rule: str
    verdict: str
    shown_in: str


def scorecard(folder, second=None, claims: Sequence[Callable] = CLAIMS) -> list[Row]:
    """One row per claim, from the results in `folder` (folder/<kind>/*.json, as a study writes
    them) and in `second`, those of another architecture. Either may be a `Study`. A claim whose
    files are missing is "not measured yet" and says which.

    claims: functions marked with `evidence.claim`; add your own to the list."""
    study, other = (x if x is None or isinstance(x, Study) else Study(x) for x in (folder, second))
    return [row(function, study, other) for function in claims]


def row(function: Callable, study: Study, second: Study | None = None) -> Row:
    """The row of one claim."""
    about = dict(function.about)
    try:
        found = function(study, second)
    except NotMeasured as missing:
        return Row(**about, measured=f"missing: {missing}", seeds=0, verdict=NOT_YET)
    failed = [part for part, met in found.parts.items() if not met]
    about["control"] += f": {found.control}" if found.control else ""
    return Row(
        **about,
        measured=found.measured + (f". **Not met:** {'; '.join(failed)}" if failed else ""),
        seeds=found.seeds,
        verdict=VERDICTS[not failed if found.parts else None],
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """The table, without the rules, for a page beside the notebooks."""
    lines = [
        ("", "claim", "the paper", "we measured", "n", "control", "verdict", "shown in"),
        (":--",) * 8,
    ]
    for row in rows:
        number = row.shown_in.split("_")[0]
        there = (PACKAGE.parent / "notebooks" / row.shown_in.partition("#")[0]).is_file()
        lines.append(
            (
                row.id,
                row.claim,
                row.paper,
                row.measured,
                str(row.seeds or ""),
                row.control,
                f"**{row.verdict}**",
                f"[lesson {number}]({row.shown_in})" if there else f"lesson {number}, planned",
            )
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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
    found = {}
    for name, (first, second) in (STEPS | ASIDE).items():
        with contextlib.suppress(NotMeasured):
            found[name] = study.difference("main", first, second)
    return found


def explanations(study: Study) -> list[str]:
    """What the files say about the reasons, in sentences; one whose files are missing, or which
    does not hold, is left out."""

    def scalars(method):
        return study.runs("main", method)[0].get("trainable", 0)

    def layers():
        share = scalars("layers") / scalars("full")
        return (
            f"Only the selected layers: {effect(study.difference('main', 'layers', 'full'))}, "
            f"with {share:.0%} of the scalars."
        )

    def union():
        share = scalars("lander-none") / scalars("layers")
        return share > 0.99 and (
            f"Over all directions LANDeRMT trains {share:.1%} of what `layers` trains: each "
            f"neuron of these layers "
            "belongs to some direction. The two differ only in which batch changes which neuron."
        )

    def neurons():
        return (
            f"Random neurons in place of the chosen ones: "
            f"{effect(study.difference('main', 'random', 'lander-none'))}."
        )

    def router():
        return (
            f"The router: {effect(study.difference('main', LANDER, 'lander-none'))}. As printed: "
            f"{effect(study.difference('main', 'lander-literal', 'lander-none'))}."
        )

    def size():
        ahead = study.difference("main", "lora", LANDER)
        return (
            scalars("lora") < scalars(LANDER)
            and ahead.above
            and (
                f"LoRA trains {scalars('lora'):,} scalars, LANDeRMT {scalars(LANDER):,}, and LoRA "
                f"is ahead: the number of scalars is not the "
                "reason."
            )
        )

    def depth():
        most = max(run["settings"]["k"] for run in study.runs("k", LANDER))
        few = study.runs("main", LANDER)[0]["layers"]
        more = minus(
            "", *(study.values("k", LANDER, k=k, where="selected") for k in (most, len(few)))
        )
        return f"LANDeRMT in all {most} layers in place of {len(few)}: {effect(more)}."

    def edges():
        found = []
        for method in dict.fromkeys(run["method"] for run in study.runs("main")):
            run = study.runs("main", method)[0]
            rates = sorted(map(float, run["grid"]))
            if run["learning_rate"] in rates[:1] + rates[-1:]:
                found.append(f"{method} {run['learning_rate']:g}")
        return (
            f"Best learning rate at an end of its grid, so that one beyond may be better: "
            f"{', '.join(found) or 'no method'}."
        )

    lines = []
    for sentence in (layers, union, neurons, router, size, depth, edges):
        with contextlib.suppress(NotMeasured):
            lines.append(sentence())
    return [line for line in lines if line]


def effect(difference: Difference) -> str:
    return f"{difference.text} BLEU, " + (
        "a gain" if difference.above else "a loss" if difference.below else "no clear difference"
    )


if __name__ == "__main__":
    folders = [Study(path) for path in sys.argv[1:3]] or [
        Study(data_dir() / "results" / "tiny-bloom")
    ]
    print(as_markdown(scorecard(*folders)))
    for folder in folders:
        if folder.bootstraps:
            folder.save_bootstraps()
