"""`spiritlm prepare KIND OUT ...`: make a corpus folder."""

from pathlib import Path

from spiritlm_pl.corpora.manifest import read_info


def _report(out: str | Path) -> None:
    info = read_info(out)
    assert info is not None
    parts = ", ".join(
        f"{split} {count} ({info['seconds'][split] / 60:.1f} min)" for split, count in info["utterances"].items()
    )
    skipped = f"; {info['skipped']} skipped, listed in {Path(out) / 'skipped.jsonl'}" if info["skipped"] else ""
    print(f"{out}: {parts}{skipped}")


def stories(
    out: str,
    count: int = 2000,
    seed: int = 0,
    voices: tuple[str, ...] = ("en-us", "en-us+f2", "en-gb+m3"),
    speed: int = 220,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.125,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of four-sentence stories of a built-in grammar, spoken by eSpeak NG with exact word times.

    Args:
        out: the corpus folder to write.
        count: number of stories, each different from all others.
        seed: draws the stories and their splits.
        voices: eSpeak NG voices that take turns, such as en-us or en-gb+f2.
        speed: words a minute, 80 to 450.
        validation_fraction: share of the stories in the validation split.
        test_fraction: share of the stories in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.spoken import speak_stories

    speak_stories(
        out, count=count, seed=seed, voices=voices, speed=speed, validation_fraction=validation_fraction,
        test_fraction=test_fraction, num_jobs=num_jobs,
    )
    _report(out)


def text(
    file: str,
    out: str,
    seed: int = 0,
    voices: tuple[str, ...] = ("en-us", "en-us+f2", "en-gb+m3"),
    speed: int = 175,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of the sentences of a text file, spoken by eSpeak NG with exact word times.

    Args:
        file: a UTF-8 text file; repeated sentences are said once.
        out: the corpus folder to write.
        seed: draws the splits.
        voices: eSpeak NG voices that take turns, such as en-us or en-gb+f2.
        speed: words a minute, 80 to 450.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.spoken import speak_text

    speak_text(
        file, out, seed=seed, voices=voices, speed=speed, validation_fraction=validation_fraction,
        test_fraction=test_fraction, num_jobs=num_jobs,
    )
    _report(out)


COMMANDS = {"stories": stories, "text": text}
