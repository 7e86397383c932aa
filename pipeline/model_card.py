"""The papers of a packed detector: its model card and the licences it comes under."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.configuration import Weights
from pipeline.contents import Contents
from pipeline.environments import Environment
from pipeline.provenance import Provenance
from pipeline.targets import Variant

Document = Mapping[str, Any]

# What packages bring inside under other licences than the one they state.
_BROUGHT = {
    "av": "Inside av, in `av.libs`, are FFmpeg's libraries (LGPL, version 3 or later) and with "
    "them\nx264 and x265, which are under the GNU General Public License, version 2 or later. "
    "Who passes this\nruntime on to others owes them the source of these, or an offer of it: "
    "https://github.com/PyAV-Org/pyav-ffmpeg\nbuilds them.",
}


@dataclass(frozen=True)
class Facts:
    """All that the papers say. A Document is what a stage wrote as JSON."""

    variant: Variant
    environment: Environment
    origin: Provenance
    detector: Document  # detector.json
    imported: Document  # origin.json of a detector that was trained elsewhere, or empty
    data: Document  # records.json; empty for one that was trained elsewhere
    boxes: Mapping[str, Mapping[str, int]]  # by split and class
    metrics: Document  # metrics.json of the exported detector; empty where it is not current
    verified: Mapping[str, Document]  # by variant, verify.json of all that passed
    ran_on: Mapping[str, str]  # by variant: what ran here, on which processor
    inside: Contents  # what the runtime consists of
    weights: Weights | None  # what training started from, where configs/weights.toml knows it

    @property
    def runtime(self) -> str:
        """What runs the detector on the device: not always what runs, or simulates, it here."""
        device = self.environment.file.device
        return (device.runtime if device else "") or self.variant.target.runtime

    @property
    def mean_ap(self) -> float | None:
        """mAP of the packed artifact on the test photos."""
        found: float | None = self.verified[self.variant.name].get("mAP")
        return found


def boxes_per_class(records: Path) -> dict[str, dict[str, int]]:
    """Split -> class -> number of boxes, from the tables that ``make_records.py`` wrote."""
    found = {}
    for path in sorted(records.glob("*_labels.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            counted = Counter(row["class"] for row in csv.DictReader(file))
        found[path.name.removesuffix("_labels.csv")] = dict(counted)
    return found


def card(facts: Facts) -> str:
    """The model card, as Markdown."""
    title = (
        f"# {facts.origin.experiment} for {facts.variant.target.name}, {facts.variant.precision}"
    )
    parts = [
        title,
        _summary(facts),
        "## What it is for, and its limits",
        _limits(facts),
        "## Data",
        _data(facts),
        "## Figures",
        _figures(facts),
        "## Devices",
        _devices(facts),
        "## Where it comes from",
        _stages(facts),
    ]
    return "\n\n".join(parts) + "\n"


def notice(facts: Facts) -> str:
    """Under which licences the package comes, as Markdown."""
    weights = facts.weights
    started = (
        f"Training started from {weights.origin}; licence: {weights.licence}."
        if weights
        else "Training started from no weights of others that this project knows."
    )
    packages = "\n".join(
        f"- {one.name} {one.version}: {one.licence or 'see its dist-info'}"
        for one in facts.inside.python
    )
    if facts.inside.debian is not None:
        packages += f"\n- {len(facts.inside.debian)} packages of {facts.inside.system}"
    inside = "".join(
        f"\n{_BROUGHT[one.name]}\n" for one in facts.inside.python if one.name in _BROUGHT
    )
    trained = (
        f"The detector was trained elsewhere ({facts.imported['file']},\n"
        f"sha256:{facts.imported['sha256']}); its licence is its\nowner's matter."
        if facts.imported
        else "The detector was trained on the photos that the model card names; their licence is "
        f"their owner's\nmatter. {started}"
    )
    return f"""\
# Licences

The programs are Drydock's, under the MIT licence (`LICENSE`).

{trained}

The runtime consists of the packages below, with the licence that each states. The texts come
with them: in the `dist-info` folders (in an image below `/opt/venv/lib`), and for the Debian
packages of an image in `/usr/share/doc`. The bill of materials beside the package (`.cdx.json`)
lists them all.

{packages}
{inside}"""


def _summary(facts: Facts) -> str:
    taken = facts.detector["input"]
    return table(
        ("", ""),
        [
            ("finds", ", ".join(facts.detector["classes"])),
            *(
                [("imported from", f"{facts.imported['file']}, {facts.imported['format']}")]
                if facts.imported
                else [("trained from", facts.detector["name"]), ("begun with", _begun_with(facts))]
            ),
            ("input", f"{taken['width']} x {taken['height']} pixels, RGB"),
            ("runs with", f"{facts.runtime} on {facts.environment.file.description}"),
            ("detector", f"sha256:{facts.origin.detector}"),
            ("licences", "NOTICE.md"),
            ("made", f"{facts.origin.made}, revision {facts.origin.revision}"),
        ],
    )


def _begun_with(facts: Facts) -> str:
    return facts.weights.origin if facts.weights else "no weights known here"


def _limits(facts: Facts) -> str:
    classes = facts.detector["classes"]
    intended = (
        f"It draws boxes around {_listed(classes)} on single photos that resemble those it was "
        "trained on: same kind of camera, distance, light and background. On others nothing has "
        "been measured.\n\n"
        "It knows no other objects and takes some of them for one of its own. A person should "
        "look where a wrong or missing box does harm; for safety, identification of people or "
        "measuring it is not made."
    )
    cautions = (facts.metrics.get("caution"), facts.verified[facts.variant.name].get("caution"))
    lines = [f"- {caution}" for caution in cautions if caution]
    absent = [name for name in classes if not facts.boxes.get("test", {}).get(name)]
    if absent and not facts.imported:
        lines.append(f"- Not measured, because no test photo shows them: {_listed(absent)}.")
    if facts.origin.accepted_loss:
        lines.append(
            "- It loses more mAP against the trained detector than this project tolerates. That "
            f"was accepted: {facts.origin.accepted_loss}"
        )
    if best := facts.metrics.get("best_f1"):
        lines.append(
            f"- Scores above {best['score']:.2f} gave the best F1 ({best['f1']:.2f}) on the test "
            "photos: a threshold to begin with."
        )
    return "\n\n".join(filter(None, (intended, "\n".join(lines))))


def _data(facts: Facts) -> str:
    if facts.imported:
        return (
            "The detector was trained elsewhere; on what, is not known here. It came as "
            f"`{facts.imported['file']}`, sha256:{facts.imported['sha256']}: "
            f"{facts.imported['taken']}."
        )
    splits = facts.data["splits"]
    rows = [
        (
            split,
            str(counts["photos"]),
            str(counts["negatives"]),
            str(counts["boxes"]),
            *(str(facts.boxes.get(split, {}).get(name, 0)) for name in facts.data["classes"]),
        )
        for split, counts in splits.items()
    ]
    head = ("", "photos", "without objects", "boxes", *facts.data["classes"])
    content = facts.origin.stages["records"].inputs["data"]
    return f"{table(head, rows)}\n\nPhotos and boxes: sha256:{content}"


def _figures(facts: Facts) -> str:
    """Average precision of the package and of the trained detector, for each class."""
    verified, metrics = facts.verified[facts.variant.name], facts.metrics
    if facts.mean_ap is None:
        return "None: no photos are annotated for this detector here."
    whole = {"AP": verified["mAP"], "reference_AP": verified["reference_mAP"]}
    both = {"all": whole, **verified["per_class"]}
    further = {"all": metrics, **metrics["per_class"]} if metrics else {}
    head = ("average precision", "this package", "trained", "at IoU 0.50", "at IoU 0.75", "boxes")
    rows = [
        (
            name,
            *(_score(both.get(name, {}).get(side)) for side in ("AP", "reference_AP")),
            *(_score(further.get(name, {}).get(figure)) for figure in ("AP50", "AP75")),
            str(further.get(name, {}).get("boxes", "")),
        )
        for name in {**both, **further}
    ]
    text = (
        f"On {verified['images']} test photos, by COCO's rules: the mean over IoU 0.50 to 0.95 of "
        "this package and of the detector as it was trained, and more of the latter."
    )
    if not metrics:
        text += " Its further figures are not current: `./inv train` measures them."
    elif interval := metrics.get("interval"):
        text += (
            f" With the test photos drawn anew, 95 % of its mAPs lie between {interval[0]:.3f} and "
            f"{interval[1]:.3f}."
        )
    return f"{text}\n\n{table(head, rows)}"


def _devices(facts: Facts) -> str:
    rows = [
        (
            name,
            _score(verified.get("mAP")),
            _score(verified.get("reference_mAP")),
            facts.ran_on[name],
            "this package" if name == facts.variant.name else "",
        )
        for name, verified in facts.verified.items()
    ]
    head = ("verified", "mAP", "trained detector", "run here on", "")
    return (
        "What was held against the trained detector on the test photos, and passed. No other "
        f"device was checked.\n\n{table(head, rows)}"
    )


def _stages(facts: Facts) -> str:
    rows = [
        (
            name,
            origin.key[:12],
            origin.environment[:12],
            origin.revision[:12],
            ", ".join(f"{option}={value}" for option, value in origin.options.items() if value),
        )
        for name, origin in facts.origin.stages.items()
    ]
    head = ("stage", "key", "environment", "revision", "options")
    return f"{table(head, rows)}\n\nIn full, with every file's sha256: `provenance.json`."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; what could break it is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in line)} |"
        for line in lines
    )


def _score(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
