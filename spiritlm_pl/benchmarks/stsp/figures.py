"""Figures of STSP: share of kept sentiments, recall and confusion by class, chance, and the judge on originals."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spiritlm_pl.benchmarks.items import AnswerLine, Figure
from spiritlm_pl.benchmarks.stsp.items import WAY, predicted
from spiritlm_pl.evaluation.interval import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Plot

NONE = "none"  # column of answers of nothing


def share(name: str, right: Sequence[bool]) -> Figure:
    """Return the share of true values in percent with Wilson's interval."""
    low, high = wilson_interval(sum(right), len(right))
    return Figure(name, 100 * sum(right) / len(right), 100 * low, 100 * high, len(right))


def pair_figures(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> list[Figure]:
    """Return the figures of references and predictions: all, recall and confusion by class, and what guessing gives.

    Args:
        pairs: label of the reference and of the prediction, which is empty if there is none.
        classes: labels among which a judge chooses.
    """
    figures = [share("all", [label == pred for label, pred in pairs])]
    labels = sorted({label for label, _ in pairs})
    recalls = [share(f"recall/{label}", [label == pred for one, pred in pairs if one == label]) for label in labels]
    figures.append(Figure("mean_recall", sum(one.value for one in recalls) / len(recalls), None, None, len(pairs)))
    figures += recalls
    counts = Counter(pairs)
    rows = Counter(label for label, _ in pairs)
    columns = sorted({*classes, *labels, *(pred for _, pred in pairs)} - {""}) + [""]
    for label in labels:
        for column in columns:
            if column or any(pred == "" for _, pred in pairs):
                hits = [True] * counts[label, column] + [False] * (rows[label] - counts[label, column])
                figures.append(share(f"confusion/{label}/{column or NONE}", hits))
    figures.append(Figure("chance", 100 / max(1, len(set(classes) | set(labels))), None, None, len(pairs)))
    figures.append(Figure("most_frequent_class", 100 * max(rows.values()) / len(pairs), None, None, len(pairs)))
    return figures


def figures(lines: Sequence[AnswerLine]) -> dict[str, list[Figure]]:
    """Return the figures of judged answers; an answer of nothing is wrong."""
    pairs = [(str(line.labels["label"]), predicted(line)) for line in lines]
    classes = sorted({one for line in lines for one in str(line.labels["classes"]).split(", ")})
    found = pair_figures(pairs, classes)
    found.append(share("answered", [pred != "" for _, pred in pairs]))
    corpora = sorted({str(line.labels["corpus"]) for line in lines})
    if len(corpora) > 1:
        for corpus in corpora:
            own = [pair for pair, line in zip(pairs, lines, strict=True) if line.labels["corpus"] == corpus]
            found.append(share(f"corpus/{corpus}", [label == pred for label, pred in own]))
    if any(line.labels["shots"] for line in lines):
        fitted = [line.num_shots for line in lines]
        found.append(Figure("mean_of_shots_that_fitted", sum(fitted) / len(fitted), None, None, len(fitted)))
        found.append(Figure("fewest_shots_that_fitted", min(fitted), None, None, len(fitted)))
    found += _on_originals(lines)
    return {WAY: found}


def _on_originals(lines: Sequence[AnswerLine]) -> list[Figure]:
    """Return how often the judge is right about the samples that prompts are of, which bounds what can be measured."""
    judged = [(str(line.labels["label"]), line.texts["original"]) for line in lines if "original" in line.texts]
    if not judged:
        return []
    found = [share("judge_on_originals", [label == pred for label, pred in judged])]
    for label in sorted({label for label, _ in judged}):
        found.append(share(f"judge_recall/{label}", [label == pred for one, pred in judged if one == label]))
    return found


def confusion(pairs: Sequence[tuple[str, str]], title: str) -> "Plot":
    """Draw the confusion matrix: a row for each label of references, in percent of the row, with counts.

    Args:
        pairs: label of the reference and of the prediction, which is empty if there is none.
        title: title above the plot.
    """
    from matplotlib.figure import Figure as Plot

    counts = Counter(pairs)
    rows = sorted({label for label, _ in pairs})
    columns = sorted({*rows, *(pred for _, pred in pairs)} - {""}) + (
        [""] if any(not pred for _, pred in pairs) else []
    )
    sums = {row: sum(counts[row, column] for column in columns) for row in rows}
    shares = [[100 * counts[row, column] / sums[row] for column in columns] for row in rows]
    plot = Plot(figsize=(2 + 0.9 * len(columns), 1.6 + 0.7 * len(rows)), layout="constrained")
    axes = plot.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            text = f"{shares[y][x]:.0f} %\n{counts[row, column]}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if shares[y][x] > 60 else "black")
    axes.set_xticks(range(len(columns)), [column or NONE for column in columns])
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xlabel("judged as")
    axes.set_ylabel("prompt")
    axes.set_title(title, fontsize=10, parse_math=False)
    return plot
