"""Commands that make corpora of a known layout, fetched from Debian or as their authors publish them."""

from pathlib import Path
from typing import Any

from spiritlm_pl.cli.prepare.report import report


def debian_prompts(
    out: str,
    source: str | None = None,
    any_version: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make the corpus of the Asterisk voice prompts: 24 minutes of real speech (CC-BY-SA-3.0).

    The two Debian packages are fetched with `apt-get download` (nothing is installed) and their contents checked.

    Examples:
        spiritlm prepare debian-prompts data/corpora/prompts
        spiritlm prepare debian-prompts data/corpora/prompts --source /my/packages --any-version

    Args:
        out: the corpus folder to write.
        source: a folder with the two .deb files, or with their unpacked contents; if not given, apt-get fetches them.
        any_version: accept packages whose recordings differ from those of the tested version.
        seed: seed of the random splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.sources.prompts import prepare_prompts

    prepare_prompts(
        out,
        source=source,
        any_version=any_version,
        overwrite=overwrite,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    report(out)


def debian_texts(out: str, source: str | None = None) -> None:
    """Write English texts to speak and to train on: six novels of Jane Austen, WordNet's examples and definitions.

    The Debian packages r-cran-janeaustenr and wordnet-base are fetched with `apt-get download` (nothing is installed).
    The texts are split: Persuasion is the novel of test, Northanger Abbey that of validation.

    Examples:
        spiritlm prepare debian-texts data/texts
        spiritlm prepare debian-texts data/texts --source /my/packages

    Args:
        out: the folder to write, with train, validation and test.
        source: a folder with the two .deb files; if not given, apt-get fetches them.
    """
    from spiritlm_pl.corpora.sources.debian_texts import prepare_texts

    for split, words in prepare_texts(out, source).items():
        files = ", ".join(f"{name} {count:,}" for name, count in sorted(words.items()))
        print(f"{Path(out) / split}: {sum(words.values()):,} words ({files})")
    print(f"licence: novels in the public domain, WordNet 3.0 licence; see {Path(out) / 'LICENCE'}")


def amazon_queen(
    out: str,
    source: str | None = None,
    any_version: bool = False,
    characters: list[str] | None = None,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make a corpus of acted English dialogue: the voices of a freeware adventure game, some 140 minutes.

    The Debian package flight-of-the-amazon-queen is fetched with `apt-get download` (nothing is installed). The speaker
    of an utterance is the character; a clip that does not align with its line is dropped and listed. The recordings
    have a sample rate of 11 kHz, so they hold no sound above 5.5 kHz.

    Examples:
        spiritlm prepare amazon-queen data/corpora/dialogue
        spiritlm prepare amazon-queen data/corpora/dialogue --characters '[joe]' --test-fraction 0.2

    Args:
        out: the corpus folder to write.
        source: a folder with the .deb file, or with its unpacked contents; if not given, apt-get fetches it.
        any_version: accept a package whose archive differs from that of the tested version.
        characters: characters whose lines are taken, such as '[joe]', the hero, who says a third of all lines; if not
            given, all characters.
        seed: seed of the random splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.alignment.pocketsphinx import PocketsphinxAligner
    from spiritlm_pl.alignment.run import align_corpus
    from spiritlm_pl.corpora.sources.amazon_queen import prepare_amazon_queen

    prepare_amazon_queen(
        out,
        source=source,
        any_version=any_version,
        overwrite=overwrite,
        characters=characters,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
        align=lambda folder: align_corpus(folder, PocketsphinxAligner(phones=True), num_jobs=num_jobs),
    )
    report(out)


def expresso(
    corpus_dir: str,
    out: str,
    longest_piece: float = 15.0,
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    spoken_text: bool = True,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make a corpus of Expresso: acted English by four actors, 11 hours read and 30 improvised (CC BY-NC 4.0).

    Dialogues and long readings are cut at their segments of voice activity (VAD) and have no text; short readings must
    have one. The style is kept as `custom["style"]`. The splits are Expresso's own, without the sentences of train that
    are also in dev or test.

    Examples:
        spiritlm prepare expresso /data/expresso data/corpora/expresso
        spiritlm prepare expresso /data/expresso data/corpora/expresso --longest-piece 10 --num-jobs 8

    Args:
        corpus_dir: the unpacked expresso.tar, with audio_48khz, splits and the .txt files.
        out: the corpus folder to write.
        longest_piece: length in seconds above which VAD segments are cut into equal pieces.
        min_duration: shortest utterance to keep, in seconds.
        max_duration: longest utterance to keep, in seconds.
        spoken_text: whether to keep transcripts as the words that are said, in lower case and without marks of
            emphasis; if false, they are kept as written.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.sources.expresso import prepare_expresso

    rules = Rules(min_duration=min_duration, max_duration=max_duration, spoken_text=spoken_text)
    prepare_expresso(corpus_dir, out, rules, longest_piece=longest_piece, num_jobs=num_jobs, overwrite=overwrite)
    report(out)


def emov_db(
    corpus_dir: str,
    out: str,
    prompts: str | None = None,
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Make a corpus of EmoV-DB: sentences of CMU Arctic acted by four speakers (not for commercial use).

    The emotion is kept as `custom["style"]`: amused, angry, disgusted, neutral or sleepy. Recordings may hold laughing
    or yawning before and after the sentence.

    Examples:
        spiritlm prepare emov-db /data/emov_db data/corpora/emov_db
        spiritlm prepare emov-db /data/emov_db data/corpora/emov_db --prompts cmuarctic.data --seed 1

    Args:
        corpus_dir: a folder with SPEAKER_EMOTION/*.wav, as OpenSLR 115 unpacks, or SPEAKER/EMOTION/*.wav.
        out: the corpus folder to write.
        prompts: the file of sentences, cmuarctic.data of festvox.org/cmu_arctic; if not given, that in `corpus_dir`.
        min_duration: shortest utterance to keep, in seconds.
        max_duration: longest utterance to keep, in seconds.
        spoken_text: whether to keep transcripts as the words that are said, in lower case and with numbers in words; if
            false, they are kept as written.
        seed: seed of the random splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.collect import check_settings, collect
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.replacing import own_audio
    from spiritlm_pl.corpora.sources.emov_db import LICENCE, read_emov_db

    settings: dict[str, Any] = {
        "rules": Rules(min_duration=min_duration, max_duration=max_duration, spoken_text=spoken_text),
        "source": f"EmoV-DB (OpenSLR 115) in {Path(corpus_dir).resolve()}",
        "seed": seed,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "arguments": {"prompts": None if prompts is None else str(Path(prompts).resolve())},
        "overwrite": overwrite,
    }
    check_settings(out, **settings)
    utterances, skipped = read_emov_db(corpus_dir, prompts, own_audio(out))
    collect(out, utterances, name=Path(out).name, licence=LICENCE, skipped=skipped, num_jobs=num_jobs, **settings)
    report(out)
