"""Commands that make synthetic corpora, spoken by eSpeak NG and Flite."""

from typing import Literal

from spiritlm_pl.cli.prepare.report import report


def stories(
    out: str,
    count: int = 2000,
    seed: int = 0,
    voices: tuple[str, ...] = ("en-us", "en-us+f2", "en-gb+m3"),
    speed: int = 220,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.125,
    num_jobs: int | None = None,
    difficulty: Literal["easy", "hard"] = "easy",
    overwrite: bool = False,
) -> None:
    """Make a corpus of short stories of a built-in grammar, spoken by eSpeak NG with exact word times.

    Examples:
        spiritlm prepare stories data/corpora/stories
        spiritlm prepare stories data/corpora/stories --count 500 --voices '[en-us, en-gb+f2]' --speed 180
        spiritlm prepare stories data/corpora/hard_stories --difficulty hard

    Args:
        out: the corpus folder to write.
        count: number of stories, each different from all others.
        seed: seed of the random stories and of their splits.
        voices: eSpeak NG voices that take turns, such as en-us or en-gb+f2.
        speed: rate of speech in words a minute, 80 to 450.
        validation_fraction: share of the stories in the validation split.
        test_fraction: share of the stories in the test split.
        num_jobs: number of processes; if not given, one per core.
        difficulty: easy, four sentences of 67 words; or hard, five sentences of 107 words with more animals, places and
            things, and a sentence about neither of them before the last one, which names them again.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.synthetic.spoken_stories import speak_stories

    speak_stories(
        out,
        count=count,
        seed=seed,
        voices=voices,
        speed=speed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
        difficulty=difficulty,
        overwrite=overwrite,
    )
    report(out)


def text(
    file: str,
    out: str,
    seed: int = 0,
    voices: tuple[str, ...] = ("en-us", "en-us+f2", "en-gb+m3"),
    held_out_voices: tuple[str, ...] = (),
    times_said: int = 1,
    utterances: int | None = None,
    speed: int = 175,
    flite: str | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make a corpus of the sentences of texts, spoken by eSpeak NG or Flite with exact word times.

    Run it again after an interrupt, and what was spoken is kept.

    Examples:
        spiritlm prepare text book.txt data/corpora/book
        spiritlm prepare text book.txt data/corpora/book --voices '[de, de+f2]' --num-jobs 4
        spiritlm prepare text data/texts data/corpora/english --voices '[en-us, flite-slt]' --times-said 2

    Args:
        file: a UTF-8 file of running text, or a folder of .txt files at any depth. Sentences end at . ! ? (or the signs
            of other scripts) and at empty lines, but not at the end of a line. Repeated sentences are said once; those
            of more than 200 words are skipped. Where the folders in it are named like train, validation and test, these
            are the splits; else they are drawn.
        out: the corpus folder to write.
        seed: seed of the random splits.
        voices: voices that take turns: of eSpeak NG, such as en-us or en-gb+f2, or flite-slt, flite-rms and flite-awb,
            which are more natural, and English. With voices of other languages than English, sentences with symbols,
            and most with numbers, are skipped.
        held_out_voices: voices that say the test split, and nothing else; if none are given, it is said by `voices`.
            There must be a test split for them.
        times_said: number of voices that say each sentence.
        utterances: largest number of utterances of all splits together, spread evenly over the text; all if left out.
            Every split gets one sentence at least.
        speed: rate of speech in words a minute, 80 to 450.
        flite: folder with the .deb file of libflite1, for its voices; if not given, apt-get fetches it (nothing is
            installed).
        validation_fraction: share of the sentences in the validation split, where splits are drawn.
        test_fraction: share of the sentences in the test split, where splits are drawn.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.synthetic.spoken_texts import speak_text

    speak_text(
        file,
        out,
        seed=seed,
        voices=voices,
        held_out_voices=held_out_voices,
        times_said=times_said,
        utterances=utterances,
        speed=speed,
        flite=flite,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
        overwrite=overwrite,
    )
    report(out)


def styles(
    out: str,
    sentences: int = 2000,
    seed: int = 0,
    voices: tuple[str, ...] = ("en-us", "en-us+f2", "en-gb+m3", "en-gb+f4"),
    styles: tuple[str, ...] = ("default", "monotone", "lively", "high", "low", "fast", "slow", "whisper"),
    parallel: bool = False,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make a corpus of acted speech by eSpeak NG: each voice in styles of known pitch, range and rate.

    Each utterance's `custom` field holds its style and the pitch, range and rate that were set, as ground truth for
    tests of pitch and style.

    Examples:
        spiritlm prepare styles data/corpora/styles
        spiritlm prepare styles data/corpora/styles --parallel --styles '[high, low, fast, slow]'

    Args:
        out: the corpus folder to write.
        sentences: number of utterances; each text is said about four times, in voices and styles drawn at random. With
            --parallel it is an upper limit, since each text is said in all styles by all voices.
        seed: seed of the random texts, voices, styles and splits.
        voices: eSpeak NG voices, which are the speakers. A whisper keeps only the accent and the sex of a voice.
        styles: styles to speak in: those of the default list, or higher, lower, faster and slower, which differ less
            from the style named default.
        parallel: say each text in all styles by all voices, to compare them.
        validation_fraction: share of the texts in the validation split.
        test_fraction: share of the texts in the test split.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.synthetic.styles import speak_styles

    speak_styles(
        out,
        count=sentences,
        seed=seed,
        voices=voices,
        styles=styles,
        parallel=parallel,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
        overwrite=overwrite,
    )
    report(out)
