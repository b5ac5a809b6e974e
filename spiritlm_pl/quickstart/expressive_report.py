"""Report of the expressive quickstart: Expressive beside Base and the originals, for each corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.evaluation.expressivity_report import STYLE_ROWS
from spiritlm_pl.evaluation.interval import Estimate
from spiritlm_pl.evaluation.prosody import ALL
from spiritlm_pl.evaluation.resyntheses import ORIGINAL
from spiritlm_pl.evaluation.tables import cell
from spiritlm_pl.quickstart.report import (
    DIRECTIONS,
    REPORTS,
    SHORT,
    Row,
    corpus_title,
    ending_rows,
    pictures_of,
    read_json,
    write_page,
)
from spiritlm_pl.quickstart.stage import ROOT
from spiritlm_pl.runtime.checkpoint import CONFIG_FILE, METRICS_FILE

BASE, EXPRESSIVE = "Base", "Expressive"  # vocoders without and with pitch and style, as the plan calls them
MEASURED = ("dialogue", "prompts", "styles")  # corpora whose resynthesis the plan measures
SYSTEMS = (ORIGINAL, BASE, EXPRESSIVE)
COMMONEST = "the commonest label, always"
MEASURES = (
    ("bitrate", "bits a second", ".0f"),
    ("f0_frame_error", "F0 frame error", ".2f"),
    ("f0_correlation", "correlation of log F0", ".2f"),
    ("speaker_similarity", "speaker similarity", ".2f"),
)


def tokenizer_rows() -> list[Row]:
    """Build rows of the pitch and the style tokenizer on held-out speech."""
    features = ROOT / "style_features"
    styles = read_json(features / CONFIG_FILE).get("config", {}).get("labels", ())
    commonest = read_json(features / METRICS_FILE).get("val/commonest_speaker")
    chance = f"chance {1 / len(styles):.2f}" if styles else ""
    speaker = "" if commonest is None else f"the commonest {commonest:.2f}"
    named = (
        ("pitch", "val/f0_frame_error", "F0 frame error of pitch codes", ".2f", ""),
        ("pitch", "val/f0_rmse_cents", "F0 RMSE of pitch codes, cents", ".0f", ""),
        ("style_features", "val/balanced_accuracy_style", "styles told apart, share", ".2f", chance),
        ("style_features", "val/accuracy_speaker", "speaker told despite it, share", ".2f", speaker),
        ("tokenizer_style", "val/accuracy", "style codes as the clusters say, share", ".2f", ""),
    )
    rows = []
    for folder, key, title, form, beside in named:
        found = read_json(ROOT / folder / METRICS_FILE)
        if key in found:
            rows.append(Row("tokenizers", title, format(found[key], form), beside))
    return rows


def code_rows() -> list[Row]:
    """Build rows of the codebook use on held-out speech, over all corpora together."""
    rows = []
    for kind, found in read_json(REPORTS / "codes.json").get("all of them", {}).get("kinds", {}).items():
        figure = f"{100 * found['use']:.3g}"
        beside = f"{found['tokens_per_second']:.1f} a second, entropy {found['entropy_bits']:.1f} bits"
        rows.append(Row("tokens", f"{kind} used, %", figure, beside))
    return rows


def expressivity_rows() -> list[Row]:
    """Build the rows of the paper's table 9 in miniature."""
    rows = []
    for name in MEASURED:
        title = corpus_title(name)
        report = read_json(REPORTS / f"expressivity_{name}.json")
        systems = report.get("systems", {})
        if not set(SYSTEMS) <= systems.keys():
            continue
        for key, measure, form in MEASURES:
            rows += _row(title, measure, form, {system: found.get(key) for system, found in systems.items()})
        told = {system: found.get("style") for system, found in systems.items()}
        rows += _row(title, STYLE_ROWS[report.get("style_measure")], ".0f", told)
        gain = systems[EXPRESSIVE].get("style_gain")
        if gain:
            figure = cell(Estimate(**gain), "+.0f")
            rows.append(Row(title, "style, points more than Base", figure, "utterance by utterance"))
        for recogniser in systems[ORIGINAL]["recognition"]:
            wer = {system: found["recognition"][recogniser]["word_error_rate"] for system, found in systems.items()}
            rows += _row(title, f"words heard wrong, {recogniser}, %", ".0f", wer)
    return rows


def _row(stage: str, measure: str, form: str, found: dict[str, Any]) -> list[Row]:
    values = {name: one["value"] if isinstance(one, dict) else one for name, one in found.items()}
    if values[EXPRESSIVE] is None or values[BASE] is None:
        return []
    beside = f"{BASE} {format(values[BASE], form)}"
    if values[ORIGINAL] is not None:
        beside += f", originals {format(values[ORIGINAL], form)}"
    return [Row(stage, measure, format(values[EXPRESSIVE], form), beside)]


def prosody_rows() -> list[Row]:
    """Build rows that compare one text in two styles, in which units should agree and the melody should follow."""
    report = read_json(REPORTS / "prosody.json")
    rows = []
    for contrast, found in report.get("contrasts", {}).items():
        if contrast == ALL:
            continue
        pairs = f"{contrast} ({found['num_pairs']})"
        made, base = found["systems"][EXPRESSIVE], found["systems"][BASE]
        other = report["other_texts"]
        scale = "" if other is None else f"other texts {other['value']:.0f}"
        rows.append(_prosody(pairs, "units that differ, %", ".0f", found["unit_edit_distance"], scale))
        for key, title in (
            ("followed", "F0 follows, 1 in full"),
            ("correlation", "correlation of log F0, in utterances"),
            ("pair_correlation", "correlation of log F0, over both"),
        ):
            if made[key] is not None and base[key] is not None and not (key == "followed" and "fast" in contrast):
                rows.append(_prosody(pairs, title, ".2f", made[key], f"Base {base[key]['value']:.2f}"))
    return rows


def _prosody(pairs: str, title: str, form: str, found: dict[str, Any], beside: str) -> Row:
    return Row("prosody", f"{pairs}: {title}", format(found["value"], form), beside)


def choice_rows() -> list[Row]:
    """Build rows of the expressive model's cross-modal choices, beside those of Base if it was trained here."""
    expressive, base = (read_json(REPORTS / f"choice_{name}_stories.json") for name in ("expressive", "interleaved"))
    rows = []
    for direction in DIRECTIONS:
        if direction in expressive:
            found = expressive[direction]
            figure = f"{100 * found['accuracy']:.1f} ({100 * found['low']:.0f} to {100 * found['high']:.0f})"
            beside = f"Base {100 * base[direction]['accuracy']:.1f}, chance 50" if direction in base else "chance 50"
            title = f"{SHORT[direction]} choice, {found['num_items']} stories, %"
            rows.append(Row("language model", title, figure, beside))
    return rows


def draw(path: Path, title: str, key: str, systems: Sequence[str], ylabel: str) -> None:
    """Draw one measure of some systems on each corpus; return without a plot if it was not measured."""
    from spiritlm_pl.evaluation.plots import COLOURS, comparison_figure

    path.unlink(missing_ok=True)  # that of an earlier run
    measured, commonest = {}, []
    for name in MEASURED:
        report = read_json(REPORTS / f"expressivity_{name}.json")
        found = report.get("systems", {})
        if all(found.get(system, {}).get(key) for system in systems):
            ones = [Estimate(**found[system][key]) for system in systems]
            measured[f"{corpus_title(name)}\n({ones[0].count} utterances)"] = ones
            labels = report.get("styles", {}).values()
            commonest.append(100 * max(labels, default=0) / max(1, sum(labels)))
    if not measured:
        return
    columns = dict(zip(systems, zip(*measured.values(), strict=True), strict=True))
    figure = comparison_figure(
        list(measured),
        {name: [one.value for one in ones] for name, ones in columns.items()},
        {name: [_ends(one) for one in ones] for name, ones in columns.items()},
        references=commonest if key == "style" else (),
        reference=COMMONEST,
        ylabel=ylabel,
        title=title,
        colours=[COLOURS[SYSTEMS.index(name)] for name in systems],
    )
    figure.savefig(path, dpi=130)


def _ends(one: Estimate) -> tuple[float, float]:
    return one.value if one.low is None else one.low, one.value if one.high is None else one.high


def write_expressive_report(name: str) -> list[Row]:
    """Draw NAME.png and NAME_style.png, write NAME.md, which shows them, and return the rows."""
    rows = [*tokenizer_rows(), *code_rows(), *expressivity_rows(), *prosody_rows()]
    rows += [*choice_rows(), *ending_rows("endings_expressive")]
    melody, style = pictures_of(name, "expressive").items()
    draw(*melody, "f0_frame_error", SYSTEMS[1:], "F0 frame error")
    draw(*style, "style", SYSTEMS, STYLE_ROWS["accuracy"])
    write_page(name, "expressive", rows)
    return rows
