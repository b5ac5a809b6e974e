"""Report of the quickstart: a table and a plot, with every figure beside its baseline or chance."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from spiritlm_pl.corpora.manifest import read_info
from spiritlm_pl.corpora.synthetic.spoken import SYNTHESIZER
from spiritlm_pl.quickstart.plan import Variant, variables
from spiritlm_pl.quickstart.stage import ROOT
from spiritlm_pl.runtime.checkpoint import METRICS_FILE
from spiritlm_pl.runtime.provenance import atomic_path

REPORTS, MODEL = (Path(variables("base")[name]) for name in ("reports", "model"))
CORPORA = ROOT / "corpora"
DIRECTIONS = ("text_to_text", "speech_to_speech", "speech_to_text", "text_to_speech")
TITLES = {
    "prompts": "real prompts",
    "stories": "spoken stories",
    "dialogue": "acted dialogue",
    "styles": "spoken styles",
}
STAND_INS = {"prompts": "synthetic prompts", "dialogue": "synthetic dialogue"}
COLLAPSED = 0.2  # share of all units that occur in held-out speech; healthy ones nearly all do
SHORT = {"text_to_text": "T→T", "speech_to_speech": "S→S", "speech_to_text": "S→T", "text_to_speech": "T→S"}


@dataclass(frozen=True)
class Row:
    """Row of the table.

    Attributes:
        stage: name of the stage that was trained.
        measure: name of the measure, with its unit.
        value: measured value, as text.
        baseline: value to compare it with, as text.
    """

    stage: str
    measure: str
    value: str
    baseline: str


def read_json(path: Path) -> dict[str, Any]:
    """Read a report; return nothing if it was not written."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return values


def _choice(kind: str, way: str) -> dict[str, Any]:
    return read_json(REPORTS / f"choice_{way}_{kind}.json")


def corpus_title(name: str) -> str:
    """Return the title of a corpus; one that could not be fetched is called synthetic speech."""
    info = read_info(CORPORA / name)
    synthetic = info is not None and info["source"].startswith(SYNTHESIZER)
    return STAND_INS.get(name, TITLES[name]) if synthetic else TITLES[name]


def corpus_rows() -> list[Row]:
    """Build rows of the amount of speech, and of what was left out."""
    rows = []
    for name in ("prompts", "stories"):
        info = read_info(CORPORA / name)
        if info:
            title = corpus_title(name)
            minutes = sum(info["seconds"].values()) / 60
            count = sum(info["utterances"].values())
            rows.append(
                Row("corpora", f"{title}: minutes", f"{minutes:.0f}", f"{count} utterances, {info['skipped']} skipped")
            )
    return rows


def unit_rows() -> list[Row]:
    """Build rows of HuBERT units beside MFCC units."""
    reports = read_json(REPORTS / "units.json")
    if not reports:
        return []
    named = (
        ("pnmi", "phone information (PNMI)", ".3f"),
        ("phone_purity", "phone purity", ".3f"),
        ("codebook_use", "codebook use", ".2f"),
        ("units_per_second", "units a second", ".1f"),
        ("unit_edit_distance", "edits under augmentation, %", ".0f"),
    )
    return [
        Row("HuBERT units", title, format(reports["hubert"][key], form), f"MFCC {format(reports['mfcc'][key], form)}")
        for key, title, form in named
        if key in reports["hubert"] and key in reports["mfcc"]
    ]


def hubert_rows() -> list[Row]:
    """Build rows of how well HuBERT predicts masked units."""
    rows = []
    for iteration in (1, 2):
        metrics = read_json(ROOT / f"hubert_{iteration}" / METRICS_FILE)
        if "val/accuracy_masked" in metrics:
            value = f"{100 * metrics['val/accuracy_masked']:.0f}"
            rows.append(Row("HuBERT", f"iteration {iteration}: masked units predicted, %", value, "chance 0.5"))
    return rows


def loss_rows() -> list[Row]:
    """Build rows of held-out losses on the kinds of data that both language models were trained on."""
    rows = []
    interleaved = read_json(MODEL / "lm" / METRICS_FILE)
    separate = read_json(ROOT / "lm_separate" / METRICS_FILE)
    for key, title in (("val/text/loss", "text"), ("val/speech/loss", "speech")):
        if key in interleaved and key in separate:
            value, other = f"{interleaved[key]:.2f}", f"not interleaved {separate[key]:.2f}"
            rows.append(Row("language model", f"held-out loss of {title} alone, nats a token", value, other))
    return rows


def choice_rows() -> list[Row]:
    """Build rows of cross-modal choices, with and without interleaving."""
    rows = []
    for kind, title in (("stories", "stories"), ("sentences", "real sentences")):
        interleaved, separate = _choice(kind, "interleaved"), _choice(kind, "separate")
        for direction in DIRECTIONS:
            if direction in interleaved and direction in separate:
                found, other = interleaved[direction], separate[direction]
                rows.append(
                    Row(
                        "language model",
                        f"{SHORT[direction]} choice, {found['num_items']} {title}, %",
                        f"{100 * found['accuracy']:.1f} ({100 * found['low']:.0f} to {100 * found['high']:.0f})",
                        f"not interleaved {100 * other['accuracy']:.1f}, chance 50",
                    )
                )
    return rows


def ending_rows(report: str = "endings") -> list[Row]:
    """Build rows of how many answers stop by themselves."""
    rows = []
    for direction, found in read_json(REPORTS / f"{report}.json").items():
        title = f"{SHORT[direction]} answers that stop by themselves, of {found['num_prompts']}"
        length = "" if found["mean_tokens"] is None else f" (after {found['mean_tokens']:.0f} tokens)"
        beside = f"true endings {found['mean_true_tokens']:.0f} tokens, limit {found['limit']}"
        rows.append(Row("language model", title, f"{found['stopped']}{length}", beside))
    return rows


def ending_line(report: str = "endings") -> str:
    """Return a line of how many answers of all directions stop by themselves; empty if not measured."""
    found = read_json(REPORTS / f"{report}.json").values()
    stopped, prompts = (sum(one[key] for one in found) for key in ("stopped", "num_prompts"))
    return f"{stopped} of {prompts} answers to held-out beginnings stopped by themselves." if prompts else ""


def collapse_line(variant: Variant) -> str:
    """Return a warning where few of the units occur in held-out speech; empty if enough do, or it was not measured."""
    if variant == "base":
        use = read_json(REPORTS / "units.json").get("hubert", {}).get("codebook_use")
    else:
        kinds = read_json(REPORTS / "codes.json").get("all of them", {}).get("kinds", {})
        use = kinds.get("units", {}).get("use")
    if use is None or use >= COLLAPSED:
        return ""
    return (
        f"The units have collapsed: {100 * use:.2g} % of them occur in held-out speech, and at least "
        f"{100 * COLLAPSED:.0f} % should. The figures and samples mean little; run again with a larger --budget or "
        "more --stories."
    )


def similarity_rows() -> list[Row]:
    """Build rows of how alike the spoken and the written form of words are, in the layer where they are most."""
    report = read_json(REPORTS / "word_similarity.json")
    rows = []
    for name, layers in report.items():
        best = max(layers, key=lambda layer: layer["same"]["value"] - layer["other"]["value"])
        rows.append(
            Row(
                "language model",
                f"similarity of spoken and written words, {name}, layer {best['layer']}",
                f"{best['same']['value']:.2f}",
                f"other words {best['other']['value']:.2f}",
            )
        )
    return rows


def resynthesis_rows() -> list[Row]:
    """Build rows of resynthesised recordings beside the originals."""
    report = read_json(REPORTS / "resynthesis.json")
    rows = []
    for recogniser, scores in report.get("recognition", {}).items():
        made, original = scores["resynthesis"], scores["original"]
        rows.append(
            Row(
                "vocoder",
                f"words that {recogniser} hears right, %",
                f"{made['word_accuracy']:.0f}",
                f"originals {original['word_accuracy']:.0f}",
            )
        )
        rows.append(
            Row(
                "vocoder",
                f"character error rate, {recogniser}, %",
                f"{made['character_error_rate']:.0f}",
                f"originals {original['character_error_rate']:.0f}",
            )
        )
    if report:
        error = report["f0_error_semitones"]
        told = "nothing voiced" if math.isnan(error) else f"{error:.1f}"
        rows.append(Row("vocoder", "F0 error, semitones", told, "originals 0"))
    return rows


def all_rows() -> list[Row]:
    """Build all rows of the table."""
    language_model = [*loss_rows(), *choice_rows(), *similarity_rows(), *ending_rows()]
    return [*corpus_rows(), *hubert_rows(), *unit_rows(), *language_model, *resynthesis_rows()]


def rich_table(rows: list[Row]) -> Table:
    """Return the table for a terminal."""
    table = Table(title="What was learnt (held-out data)", title_justify="left")
    for name in ("stage", "measure", "figure", "beside it"):
        table.add_column(name)
    before = ""
    for row in rows:
        table.add_row("" if row.stage == before else row.stage, row.measure, row.value, row.baseline)
        before = row.stage
    return table


def pictures_of(report: str, variant: Variant) -> dict[Path, str]:
    """Return the pictures that belong to a report, by their paths, each with what it shows.

    Args:
        report: path of the report, without its ending.
        variant: variant of the quickstart.
    """
    picture = Path(f"{report}.png")
    if variant == "base":
        return {
            picture: "Which continuation belongs to this story?",
            REPORTS / "word_similarity.png": "How alike are the spoken and the written form of a word?",
        }
    return {
        picture: "How much of the melody is lost in resynthesis?",
        Path(f"{report}_style.png"): "How often is the style told from prosody?",
    }


def write_page(report: str, variant: Variant, rows: list[Row]) -> None:
    """Write the table as REPORT.md, after a warning if units have collapsed, and with the pictures that there are."""
    warning = collapse_line(variant)
    lines = [warning, ""] if warning else []
    lines += ["| stage | measure | figure | beside it |", "|---|---|---|---|"]
    lines += [f"| {row.stage} | {row.measure} | {row.value} | {row.baseline} |" for row in rows]
    for picture, title in pictures_of(report, variant).items():
        if picture.is_file():
            lines += ["", f"![{title}]({Path(os.path.relpath(picture, Path(report).parent)).as_posix()})"]
    with atomic_path(Path(f"{report}.md")) as path:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw(path: Path, title: str) -> None:
    """Draw cross-modal choices with and without interleaving; return without a plot if they were not measured."""
    from spiritlm_pl.evaluation.plots import comparison_figure

    path.unlink(missing_ok=True)  # that of an earlier run
    ways = {"interleaved": _choice("stories", "interleaved"), "not interleaved": _choice("stories", "separate")}
    if not all(all(direction in found for direction in DIRECTIONS) for found in ways.values()):
        return
    figure = comparison_figure(
        [SHORT[direction] for direction in DIRECTIONS],
        {way: [100 * found[d]["accuracy"] for d in DIRECTIONS] for way, found in ways.items()},
        {way: [(100 * found[d]["low"], 100 * found[d]["high"]) for d in DIRECTIONS] for way, found in ways.items()},
        references=[50] * len(DIRECTIONS),
        ylabel="right continuation chosen, %",
        title=title,
    )
    figure.savefig(path, dpi=130)


def write_report(name: str) -> list[Row]:
    """Draw NAME.png, write NAME.md, which shows it, and return the rows."""
    rows = all_rows()
    draw(*next(iter(pictures_of(name, "base").items())))
    write_page(name, "base", rows)
    return rows
