"""Kinds of benchmarks that can be made, and the options that each takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spiritlm_pl.benchmarks.make import intents, storycloze
from spiritlm_pl.benchmarks.make.intents import make_intents
from spiritlm_pl.benchmarks.make.miniature import Miniature, write_miniature
from spiritlm_pl.benchmarks.make.prosaudit import make_prosaudit
from spiritlm_pl.benchmarks.make.salmon import make_salmon
from spiritlm_pl.benchmarks.make.sblimp import make_sblimp
from spiritlm_pl.benchmarks.make.settings import Settings
from spiritlm_pl.benchmarks.make.speaking import MORE_VARIANTS, VARIANTS, choose_voices
from spiritlm_pl.benchmarks.make.storycloze import make_storycloze
from spiritlm_pl.benchmarks.make.stsp import make_stsp
from spiritlm_pl.benchmarks.make.swuggy import make_swuggy


@dataclass(frozen=True)
class Kind:
    """A kind of benchmark.

    Attributes:
        make: function that makes it.
        count: number of items if none is given.
        options: files that it may be given: lexicon, grammar, stories, text, text_tokenizer.
        layouts: names of its layouts, the usual one first; empty if it has but one.
        variants: variants of the language's voice that speak if no voices are given.
    """

    make: Callable[[Settings], Miniature]
    count: int
    options: tuple[str, ...]
    layouts: tuple[str, ...] = ()
    variants: tuple[str, ...] = VARIANTS


KINDS = {
    "swuggy": Kind(make_swuggy, 100, ("lexicon", "text", "text_tokenizer")),
    "sblimp": Kind(make_sblimp, 100, ("grammar",)),
    "storycloze": Kind(make_storycloze, 100, ("stories",), storycloze.LAYOUTS),
    "salmon": Kind(make_salmon, 40, ("stories", "grammar"), variants=MORE_VARIANTS),
    "prosaudit": Kind(make_prosaudit, 60, ("stories",)),
    "intents": Kind(make_intents, 120, ("grammar",), intents.LAYOUTS, MORE_VARIANTS),
    "stsp": Kind(make_stsp, 90, ("grammar",), variants=MORE_VARIANTS),
}


def make_benchmark(
    kind: str,
    out: str | Path,
    *,
    language: str | None = None,
    voices: tuple[str, ...] | None = None,
    count: int | None = None,
    seed: int = 0,
    layout: str | None = None,
    files: dict[str, str | None] | None = None,
    speed: int = 175,
    text_only: bool = False,
    num_jobs: int | None = None,
) -> list[str]:
    """Make a benchmark and write it.

    Args:
        kind: name of the kind, a key of `KINDS`.
        out: folder to write to.
        language: language as eSpeak NG names it; None for that of the voices, else English.
        voices: names of eSpeak NG voices; None for those of the kind.
        count: number of items; None for that of the kind.
        seed: seed of all that is drawn.
        layout: name of the layout; None for the usual one.
        files: paths of the files that are given, by option.
        speed: rate of speech in words a minute.
        text_only: whether to list what is to be recorded, and speak nothing.
        num_jobs: number of processes; None for one a core.

    Returns:
        Lines that tell what was made.

    Raises:
        ValueError: if a value is out of range, or an option is given that the kind does not take.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, but is {kind!r} instead")
    found = KINDS[kind]
    given = {name: Path(path) for name, path in (files or {}).items() if path is not None}
    for name in given:
        if name not in found.options:
            takes = f"takes {' and '.join(found.options)}" if found.options else "takes no file"
            raise ValueError(f"{name} must not be given for {kind}, which {takes}, but is {given[name]}")
    layouts = found.layouts or (kind,)
    if layout is not None and layout not in layouts:
        raise ValueError(f"layout must be one of {', '.join(layouts)} for {kind}, but is {layout!r} instead")
    settings = Settings(
        voices=choose_voices(language, voices, speed, found.variants),
        count=found.count if count is None else count,
        seed=seed,
        layout=layout or layouts[0],
        **given,
    )
    settings.check_count(1_000_000, "items of a miniature")
    miniature = found.make(settings)
    arguments: dict[str, Any] = {
        "kind": kind,
        "language": settings.language,
        "voices": [voice.name for voice in settings.voices],
        "count": settings.count,
        "seed": seed,
        "layout": settings.layout,
        "speed": speed,
        **{name: path.name for name, path in given.items()},
    }
    lines = write_miniature(out, miniature, arguments=arguments, text_only=text_only, num_jobs=num_jobs)
    return [*lines, *miniature.notes]
