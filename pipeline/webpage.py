"""``report/index.html``: an experiment on one page that needs nothing besides itself.

Made from what the stages left; pictures are inside, no script, nothing from the network. What is
not current is left out and said to be.
"""

from __future__ import annotations

import base64
import csv
import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline import devices, records
from pipeline.devices import Row
from pipeline.errors import InputError
from pipeline.execute import survey
from pipeline.experiment import Experiment
from pipeline.plan import Step
from pipeline.screen import duration

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --good: #1a7f37; --bad: #c62828 }
@media (prefers-color-scheme: dark) { :root { --good: #57c26e; --bad: #ff8a80 } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 0.9rem }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid var(--line); text-align: left }
th { background: var(--soft); font-weight: 600; white-space: nowrap; text-align: left }
td:first-child, td.number { white-space: nowrap }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; padding: 0; list-style: none }
.figures li { border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.6rem 1.2rem }
.figures b { display: block; font-size: 1.7rem } .note { opacity: 0.75 }
.good { color: var(--good) } .bad { color: var(--bad) }
img { max-width: 100%; height: auto; border-radius: 0.3rem } figure { margin: 1rem 0 }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem }
"""
_MEAN_AP = "mAP, IoU 0.50 to 0.95"
_KINDS = {".png": "image/png", ".jpg": "image/jpeg"}
_COLOURS = {
    **dict.fromkeys((devices.REFERENCE, devices.VERIFIED), "good"),
    **dict.fromkeys((devices.FAILED, devices.ACCEPTED), "bad"),
}


def write(experiment: Experiment) -> Path:
    """Write the page, whole or not at all; InputError where nothing has been trained."""
    steps = {step.stage.name: step for step in survey(experiment, [experiment.figures])}
    if steps["export"].record is None:  # also where a dataset is all there is
        raise InputError(
            f"there is nothing to report of '{experiment.name}': train it with ./inv train"
        )
    text = page(experiment, steps, devices.rows(experiment))
    path = experiment.output("report") / "index.html"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    partial.replace(path)
    return path


def page(experiment: Experiment, steps: Mapping[str, Step], rows: Sequence[Row]) -> str:
    """The page as HTML. All that comes from users and files is escaped."""
    title = html.escape(experiment.name)
    trained = not experiment.settings.imported
    parts = [
        f"<h1>{title}</h1>",
        _subtitle(experiment, steps),
        _section("Accuracy", _accuracy(steps["evaluate"]) if trained else _held_to(rows)),
        _section("Devices", _devices(rows)),
        _section("Where it goes wrong", _worst(steps["evaluate"]) if trained else ""),
        _section("Data", _data(steps) if trained else ""),
        _section("How it was made", _stages(steps)),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body>\n{''.join(parts)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>\n{content}\n" if content else ""


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>\n'


def _subtitle(experiment: Experiment, steps: Mapping[str, Step]) -> str:
    if experiment.settings.imported:
        return _note(f"{experiment.settings.imported}, trained elsewhere")
    record = steps["train"].record
    if record is None:
        return ""
    model = Path(record.key.inputs["config"].path).stem
    return _note(f"{model}, trained {record.started[:10]} in {duration(record.seconds)}")


def _accuracy(evaluate: Step) -> str:
    if evaluate.reasons:
        return _note(f"Not current ({evaluate.reasons[0]}): ./inv train measures it.")
    metrics = records.json_object(evaluate.output / "metrics.json")
    figures = "".join(
        _figure(metrics.get(name), what)
        for name, what in (
            ("mAP", _MEAN_AP),
            ("AP50", "AP, IoU 0.50"),
            ("AP75", "AP, IoU 0.75"),
        )
    )
    notes = []
    if interval := metrics.get("interval"):
        notes.append(
            f"With the test photos drawn anew, 95 % of the mAPs lie between {interval[0]:.3f} and "
            f"{interval[1]:.3f}."
        )
    notes += [metrics["caution"].capitalize() + "."] if metrics.get("caution") else []
    if best := metrics.get("best_f1"):
        notes.append(f"Best F1, {best['f1']:.2f}, at a score of {best['score']:.2f}.")
    table = _table(
        ("class", "AP", "AP50", "AP75", "boxes"),
        [
            (name, *(_score(row.get(one)) for one in ("AP", "AP50", "AP75")), row.get("boxes", ""))
            for name, row in metrics.get("per_class", {}).items()
        ],
    )
    pictures = "".join(
        _picture(evaluate.output / f"{name}.png", caption)
        for name, caption in (
            ("pr_curves", "Precision and recall"),
            ("confusion_matrix", "Which class is taken for which"),
        )
    )
    said = _note(" ".join(notes)) if notes else ""
    return f'<ul class="figures">{figures}</ul>{said}{table}<div class="pair">{pictures}</div>'


def _held_to(rows: Sequence[Row]) -> str:
    """Of a detector that was trained elsewhere: the mAP that verify holds its conversions to."""
    first = rows[0]
    if first.mAP is None:
        return _note("No mAP is known: ./inv verify measures it, on annotated test photos.")
    return f'<ul class="figures">{_figure(first.mAP, _MEAN_AP)}</ul>'


def _figure(value: float | None, what: str) -> str:
    return f"<li><b>{_score(value)}</b>{what}</li>"


def _devices(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if row.state in (devices.UNCONVERTED, devices.IMPOSSIBLE):
            continue
        for target, precision, size, score, lost, state, *latency in devices.lines(row):
            kind = _COLOURS.get(row.state, "note")
            shown = f'<span class="{kind}">{html.escape(state)}</span>' if state else ""
            lines.append((target, precision, size, score, lost, _Html(shown), *latency))
    notes = devices.remarks(rows)
    notes += [
        f"{row.name}: quantized in {len(row.tried)} attempts: "
        + ", then ".join(one["method"] for one in row.tried)
        for row in rows
        if len(row.tried) > 1
    ]
    legend = (
        "Latency of the network alone in milliseconds, end to end beside it, and the ratio to "
        "TensorFlow in the same rounds. What ran as a stand-in is no figure of the device."
    )
    return _table(devices.HEAD, lines) + "".join(map(_note, [legend, *notes])) + _conditions(rows)


def _conditions(rows: Sequence[Row]) -> str:
    lines = [
        (
            row.name,
            measured["cpu"],
            f"{measured['mhz']} MHz" if measured["mhz"] else "",
            str(measured["threads"]),
            f"{min(measured['load']):.1f} to {max(measured['load']):.1f}",
            f"{measured['peak_memory_mib']:.0f} MiB",
            f"{measured['photos_per_second']:.1f}",
            str(measured["warm_up"]),
        )
        for row in rows
        for measured in row.measured
    ]
    head = ("measured", "processor", "clock", "threads", "load", "memory", "photos/s", "warm-up")
    return _table(head, lines) if lines else ""


def _worst(evaluate: Step) -> str:
    if evaluate.reasons:
        return ""
    photos = sorted((evaluate.output / "worst").glob("*.jpg"))
    if not photos:
        return _note("On no test photo was anything missed, invented or badly placed.")
    return _note("Annotation left, detections right; the worst first.") + "".join(
        _picture(photo, photo.stem.partition("_")[2]) for photo in photos
    )


def _data(steps: Mapping[str, Step]) -> str:
    written, check = steps["records"], steps["check"]
    if written.reasons:
        return _note(f"Not current ({written.reasons[0]}).")
    about = records.json_object(written.output / "records.json")
    boxes = {}
    for path in written.output.glob("*_labels.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            boxes[path.name.removesuffix("_labels.csv")] = Counter(
                line["class"] for line in csv.DictReader(file)
            )
    table = _table(
        ("", "photos", "without objects", "boxes", *about["classes"]),
        [
            (
                split,
                *(counts[name] for name in ("photos", "negatives", "boxes")),
                *(boxes.get(split, {}).get(name, 0) for name in about["classes"]),
            )
            for split, counts in about["splits"].items()
        ],
    )
    sheet = "" if check.reasons else _picture(check.output / "contact_sheet.jpg", "All photos")
    return table + sheet


def _stages(steps: Mapping[str, Step]) -> str:
    return _table(
        ("stage", "state", "made", "took", "by", "revision"),
        [
            (
                name,
                step.state,
                step.record.started[:16].replace("T", " ") if step.record else "",
                duration(step.record.seconds) if step.record else "",
                step.record.runner if step.record else "",
                step.record.revision[:12] if step.record else "",
            )
            for name, step in steps.items()
        ],
    )


class _Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    titles = "".join(f"<th>{html.escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(map(_cell, line))}</tr>\n" for line in lines)
    return f'<div class="wide"><table><tr>{titles}</tr>\n{body}</table></div>\n'


def _cell(value: object) -> str:
    text = value if isinstance(value, _Html) else html.escape(str(value))
    number = str(value)[:1].isdigit() or str(value)[:2] in ("-0", "+0")
    return f'<td class="number">{text}</td>' if number else f"<td>{text}</td>"


def _picture(path: Path, caption: str) -> str:
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except FileNotFoundError:
        return ""
    name = html.escape(caption)
    source = f"data:{_KINDS[path.suffix]};base64,{content}"
    return f'<figure><img alt="{name}" src="{source}"><figcaption>{name}</figcaption></figure>\n'


def _score(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
