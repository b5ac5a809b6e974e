"""Score files of the official sLM21 toolkit (package `zerospeech-benchmarks`), which confirms our figures with them.

    DIR/lexical/{dev,test}.txt, DIR/syntactic/{dev,test}.txt   name of a wav file without suffix, and its score
    DIR/meta.yaml, DIR/params.yaml                             what was scored, and settings

`zrc benchmarks:run sLM21 DIR -t lexical syntactic -s dev` reads them; it compares each score within its pair alone, so
that any way of counting can be written.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from spiritlm_pl.benchmarks.averages.means import check_variant
from spiritlm_pl.benchmarks.items import ChoiceLine
from spiritlm_pl.runtime.provenance import atomic_path

PARTS = ("lexical/dev", "lexical/test", "syntactic/dev", "syntactic/test")
_META: dict[str, Any] = {
    "benchmark_name": "sLM21",
    "code_url": None,
    "model_info": {"gpu_budget": None, "system_description": "not told", "train_set": "not told"},
    "open_source": True,
    "publication": {
        "author_label": "not told",
        "authors": "not told",
        "institution": "not told",
        "paper_title": None,
        "paper_url": None,
        "publication_year": None,
        "team": None,
    },
    "submission_id": None,
    "username": None,
}
_PARAMS: dict[str, Any] = {
    "quiet": False,
    "semantic": {"librispeech": True, "metric": "euclidean", "n_jobs": 1, "pooling": "mean", "synthetic": True},
}


def write_submission(
    folder: str | Path,
    lines: Mapping[str, Sequence[ChoiceLine]],
    variant: str,
    model_info: Mapping[str, str] | None = None,
    publication: Mapping[str, str | int] | None = None,
) -> None:
    """Write the score files of a model.

    The toolkit asks for a score of every file of a part that it is run on, so that a part with skipped pairs is refused
    by it.

    Args:
        folder: folder to write to, created if missing.
        lines: results by part, such as those of sWUGGY as "lexical/dev"; read from the layout sLM21, whose files have
            the names that the toolkit knows.
        variant: way of counting.
        model_info: fields of `model_info` in meta.yaml, such as system_description; None for none.
        publication: fields of `publication` in meta.yaml, such as author_label; None for none.

    Raises:
        ValueError: if a part or field has another name, a line lacks this way of counting, a score is not finite, or a
            file has two scores.
        OSError: if a file cannot be written.
    """
    unknown = [part for part in lines if part not in PARTS]
    if unknown:
        raise ValueError(f"parts must be among {', '.join(PARTS)}, but are {', '.join(unknown)}")
    meta = {
        **_META,
        "model_info": _filled("model_info", model_info),
        "publication": _filled("publication", publication),
    }
    texts = {f"{part}.txt": _score_lines(inner, variant, part) for part, inner in lines.items()}
    texts["meta.yaml"] = yaml.safe_dump(meta, allow_unicode=True)
    texts["params.yaml"] = yaml.safe_dump(_PARAMS)
    for name, text in texts.items():
        with atomic_path(Path(folder) / name) as path:
            path.write_text(text, encoding="utf-8")


def _filled(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    unknown = set(given or {}) - set(_META[name])
    if unknown:
        raise ValueError(f"fields of {name} must be {', '.join(_META[name])}, but are {', '.join(sorted(unknown))}")
    return {**_META[name], **(given or {})}


def _score_lines(lines: Sequence[ChoiceLine], variant: str, part: str) -> str:
    """Return the lines of a score file; scores keep all their digits, so that ties stay ties and no others arise."""
    check_variant(lines, variant)
    scores: dict[str, float] = {}
    for line in lines:
        for name, score in zip(line.names, line.scores[variant], strict=True):
            if not math.isfinite(score):
                raise ValueError(f"scores must be finite, but that of {name} ({part}) is {score}")
            if scores.setdefault(name, score) != score:
                raise ValueError(f"a file must have one score, but {name} ({part}) has {scores[name]} and {score}")
    return "".join(f"{name} {score!r}\n" for name, score in scores.items())
