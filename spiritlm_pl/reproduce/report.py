"""Report on the findings: JSON with all figures, tables in Markdown, and pictures."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spiritlm_pl.evaluation.paired import PairedEstimate
from spiritlm_pl.reproduce.findings import (
    FEWEST_SEEDS,
    Runs,
    Told,
    condition_mean,
    finding_verdict,
    findings_file,
    gaps,
    statements,
    title_of,
)
from spiritlm_pl.reproduce.plan import Settings, Task
from spiritlm_pl.reproduce.results import done_steps, is_outdated, read_result
from spiritlm_pl.reproduce.scaling import scaling
from spiritlm_pl.runtime.provenance import atomic_path

NOTE = (
    "Differences are in points, the mean over pairs of runs with the same seed and over the same test items; intervals "
    "(95 %) take both seeds and items for samples (crossed, Student's t), and end where the figures do, such as shares "
    "at 0 and 100 %. The paper's figures are those of other data and of models a "
    f"thousand times larger. Fewer than {FEWEST_SEEDS} pairs of runs are too few for a verdict."
)


PICTURES = {
    "report.png": "Difference of every statement with its 95 % interval; diamonds are the paper's",
    "report_layers.png": "How much more alike both forms of a word are than those of different words, in each layer",
}


def read_runs(folder: Path, tasks: Sequence[Task]) -> Runs:
    """Read the results of all runs, leaving out steps of other commands or configurations than the plan's."""
    runs: dict[str, dict[int, Any]] = {}
    for task in tasks:
        result = read_result(folder, task.name)
        done = done_steps(result, task.steps)
        if task.condition is not None and task.seed is not None and done:
            runs.setdefault(task.condition, {})[task.seed] = result | {"steps": done}
    return runs


def build_report(
    folder: Path, tasks: Sequence[Task], settings: Settings, asked: Sequence[int], others: Sequence[int] = ()
) -> dict[str, Any]:
    """Return the whole report as plain values.

    Args:
        folder: folder with the results.
        tasks: tasks whose results count.
        settings: settings of the folder.
        asked: numbers of the findings that were asked for.
        others: numbers of findings that were not, which are told where the folder has runs of them to compare, so that
            a report never tells less than an earlier one.
    """
    runs = read_runs(folder, tasks)
    steps = [step for task in tasks for step in done_steps(read_result(folder, task.name), task.steps).values()]
    numbers = sorted({*asked, *others})
    found = {str(number): {**_finding(number, runs), "asked": number in asked} for number in numbers}
    outdated = [task.condition for task in tasks if is_outdated(read_result(folder, task.name), task)]
    told = [number for number in numbers if {*outdated}.intersection(findings_file()["findings"][number]["conditions"])]
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {"stories": settings.stories, "budget": settings.budget, "tokenizers": dict(settings.tokenizers)},
        "code": sorted({step["code"] for step in steps}),
        "machines": sorted({f"{step['machine']['processor']}, torch {step['machine']['torch']}" for step in steps}),
        "core_hours": round(sum(step["seconds"] for step in steps) / 3600, 4),
        "not_counted": {"results": len(outdated), "findings": told},
        "findings": {number: one for number, one in found.items() if one["asked"] or is_run(one)},
    }


def _finding(number: int, runs: Runs) -> dict[str, Any]:
    described = findings_file()["findings"][number]
    found = statements(number, runs)
    means = {
        condition: {measure: _plain(condition_mean(runs.get(condition, {}), measure)) for measure in described["shown"]}
        for condition in described["conditions"]
    }
    layers = {
        condition: [gaps(step["figures"]["layers"]) for one in runs[condition].values() for step in _with_layers(one)]
        for condition in described["conditions"]
        if condition in runs
    }
    return {
        "title": described["title"],
        "where": described["where"],
        "verdict": finding_verdict([one.verdict for one in found if one.main]),
        "statements": [
            {
                "text": one.text,
                "main": one.main,
                "difference": _plain(one.estimate),
                "published": one.published,
                "verdict": one.verdict,
            }
            for one in found
        ],
        "conditions": means,
        "minutes": {condition: _minutes(runs.get(condition, {}).values()) for condition in described["conditions"]},
        **({"gap_by_layer": layers} if "alignment" in described["shown"] else {}),
        **({"scaling": scaling(runs, described["conditions"])} if described.get("scaling") else {}),
    }


def _with_layers(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for step in result["steps"].values() if "layers" in step["figures"]]


def _plain(estimate: PairedEstimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_dict()


def _minutes(results: Any) -> float | None:
    """Return the mean minutes that a run of a condition took, with its measurements."""
    taken = [sum(step["seconds"] for step in one["steps"].values()) / 60 for one in results]
    return round(sum(taken) / len(taken), 2) if taken else None


def cell(estimate: dict[str, Any] | None, sign: str = "", digits: int = 1) -> str:
    """Write an estimate as text, with its interval."""
    if estimate is None:
        return "–"
    value = format(estimate["value"], f"{sign}.{digits}f")
    if estimate["low"] is None:
        return value
    low, high = (format(estimate[end], f"{sign}.{digits}f") for end in ("low", "high"))
    return f"{value} ({low} to {high})"


def deciding(finding: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements that decide the verdict of a finding; all if there are none, and no verdict."""
    return [said for said in finding["statements"] if said["main"]] or finding["statements"]


def short_rows(finding: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a short table tells of a finding: statements or exponents, each with its figure and a verdict."""
    rows = [
        (said["text"], cell(said["difference"], "+"), said["verdict"] if said["main"] else finding["verdict"])
        for said in deciding(finding)
    ]
    for kind, one in finding.get("scaling", {}).get("exponents", {}).items():
        for name, power in (("size", "N^-"), ("tokens", "D^-")):
            rows.append((f"loss of {kind} falls with {name} as {power}", cell(one[name], digits=3), finding["verdict"]))
    return rows or [(finding["title"], "–", finding["verdict"])]


def markdown(report: dict[str, Any], pictures: Sequence[str] = ()) -> str:
    """Write the report as Markdown.

    Args:
        report: the report, as `build_report` returns it.
        pictures: names of the pictures that lie beside it.
    """
    budget = report["settings"]["budget"]
    short = f"Runs are shorter than planned (budget {budget:g}): what is not seen may need as many steps as planned."
    lines = [short, ""] if budget < 1 else []
    found = {number: one for number, one in report["findings"].items() if is_run(one)}
    lines += ["| finding | verdict | pairs of runs |", "|---|---|---|"] if found else []
    for number, one in found.items():
        pairs = [said["difference"]["seeds"] if said["difference"] else 0 for said in deciding(one)]
        told = min(pairs) if pairs else "–"  # nothing is compared
        lines.append(f"| {number}. {one['title']} | **{one['verdict']}** | {told} |")
    lines += [*([""] if lines else []), *not_asked(found), *not_run(report["findings"]), *not_counted(report)]
    for name in pictures:
        lines += ["", f"{PICTURES[name]}:", "", f"![{name}]({name})"]
    for number, one in found.items():
        lines += ["", f"### {number}. {one['title']}: {one['verdict']}", ""]
        lines += _scaling_lines(one.get("scaling", {}))
        if one["statements"]:
            lines += ["| statement | difference | paper | verdict |", "|---|---|---|---|"]
        for said in one["statements"]:
            paper = said["published"]
            beside = "–" if paper is None else f"{paper[0] - paper[1]:+.1f} ({paper[0]:g} and {paper[1]:g})"
            text = f"**{said['text']}**" if said["main"] else said["text"]
            lines.append(f"| {text} | {cell(said['difference'], '+')} | {beside} | {said['verdict']} |")
        titles = [findings_file()["measures"][name]["title"] for name in next(iter(one["conditions"].values()))]
        lines += ["", f"| condition | {' | '.join(titles)} | runs | minutes a run |", "|---" * (len(titles) + 3) + "|"]
        for condition, means in one["conditions"].items():
            seeds = max((mean["seeds"] for mean in means.values() if mean), default=0)
            minutes = one["minutes"][condition]
            cells = [*map(cell, means.values()), str(seeds), "–" if minutes is None else f"{minutes:.1f}"]
            lines.append(f"| {title_of(condition)} | {' | '.join(cells)} |")
        lines += ["", f"Published: {one['where']}."]
    settings = report["settings"]
    made = f"{report['core_hours']:.2f} core hours on {'; '.join(report['machines'])}; code {', '.join(report['code'])}"
    size = f"{settings['stories']} stories, budget {settings['budget']:g}"
    return "\n".join([*lines, "", f"Bold statements decide. {NOTE}", "", f"{size}; {made}; {report['written']}.", ""])


def is_run(finding: dict[str, Any]) -> bool:
    """Whether runs of a finding can be compared; those of a single condition may be another finding's."""
    conditions = sum(minutes is not None for minutes in finding["minutes"].values())
    return conditions > 1 or any(said["difference"] is not None for said in finding["statements"])


def not_run(findings: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line that names the findings without anything to compare; none if there is no such finding."""
    lacking = {number: one for number, one in findings.items() if not is_run(one)}
    if not lacking:
        return []
    named = "; ".join(f"{number}. {one['title']}" for number, one in lacking.items())
    return [f"Not run, and so not shown: {named} (--only '[{', '.join(lacking)}]' runs them)."]


def not_counted(report: dict[str, Any]) -> list[str]:
    """Return a line that tells of results of earlier commands or configurations; none if there are none."""
    found = report["not_counted"]
    if not found["results"]:
        return []
    where = f", of findings {', '.join(map(str, found['findings']))}" if found["findings"] else ""
    return [f"Results of other commands or configurations than this version's, not counted: {found['results']}{where}."]


def not_asked(findings: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line that names the findings that are told although they were not asked for; none if all were."""
    numbers = [number for number, one in findings.items() if not one["asked"]]
    return [f"Not asked for this time, and told from results that are there: {', '.join(numbers)}."] if numbers else []


def _scaling_lines(found: dict[str, Any]) -> list[str]:
    """Write the exponents of the losses as a table."""
    if not found.get("exponents"):
        return []
    lines = ["| loss of | falls with size as N^- | with tokens as D^- |", "|---|---|---|"]
    for kind, one in found["exponents"].items():
        cells = [cell(one[name], digits=3) for name in ("size", "tokens")]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return [*lines, ""]


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw the difference of every statement with its interval, beside the paper's; nothing without a difference."""
    from matplotlib.figure import Figure

    from spiritlm_pl.evaluation.plots import COLOURS

    rows = [
        (number, said)
        for number, one in report["findings"].items()
        for said in one["statements"]
        if said["difference"] is not None
    ]
    if not rows:
        return
    figure = Figure(figsize=(9, 1.2 + 0.22 * len(rows)), layout="constrained")
    axes = figure.subplots()
    numbers = list(report["findings"])
    for place, (number, said) in enumerate(rows):
        found = said["difference"]
        colour = COLOURS[numbers.index(number) % len(COLOURS)]
        low, high = (found["value"] if found[end] is None else found[end] for end in ("low", "high"))
        axes.plot([low, high], [place, place], color=colour, linewidth=3 if said["main"] else 1.2)
        axes.plot(found["value"], place, marker="o", color=colour, ms=6 if said["main"] else 4)
        if said["published"]:
            beside = said["published"][0] - said["published"][1]
            axes.plot(beside, place, marker="D", color="black", fillstyle="none", ms=5, linestyle="")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{number}  {said['text']}" for number, said in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first row on top
    axes.set_xlabel("difference in points, 95 % interval\nover seeds and items (diamonds: the paper's)", fontsize=8)
    figure.savefig(path, dpi=130)


def draw_layers(report: dict[str, Any], path: Path) -> None:
    """Draw how much more alike both forms of a word are in each layer, mean over seeds; nothing if not measured."""
    from spiritlm_pl.evaluation.plots import curve_figure

    found = next((one["gap_by_layer"] for one in report["findings"].values() if one.get("gap_by_layer")), None)
    if not found:
        return
    curves = {
        title_of(name): [sum(layer) / len(layer) for layer in zip(*runs, strict=True)] for name, runs in found.items()
    }
    bands = {
        title_of(name): [(min(layer), max(layer)) for layer in zip(*runs, strict=True)] for name, runs in found.items()
    }
    title = "Spoken and written words (mean, smallest and largest over seeds)"
    curve_figure(curves, bands, (), "layer", "cosine similarity above other words', %", title).savefig(path, dpi=130)


def write_report(folder: Path, report: dict[str, Any]) -> list[Path]:
    """Write report.json, report.md and the pictures in place of earlier ones; return the paths of what there is."""
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)  # nothing is drawn where there is nothing to show
    _write_texts(folder, report, [])  # if drawing ends, the texts are there
    draw(report, folder / "report.png")
    draw_layers(report, folder / "report_layers.png")
    drawn = [name for name in PICTURES if (folder / name).is_file()]
    texts = _write_texts(folder, report, drawn)
    return [folder / name for name in (*texts, *drawn)]


def _write_texts(folder: Path, report: dict[str, Any], drawn: Sequence[str]) -> list[str]:
    """Write report.json and report.md, which shows the pictures that are drawn; return their names."""
    texts = {"report.md": markdown(report, drawn), "report.json": json.dumps(report, indent=1) + "\n"}
    for name, text in texts.items():
        with atomic_path(folder / name) as path:
            path.write_text(text, encoding="utf-8")
    return [*texts]


def lines(found: Sequence[Told]) -> list[str]:
    """Return a line for each statement."""
    return [f"{one.text}: {cell(_plain(one.estimate), '+')}, {one.verdict}" for one in found]
