"""`spiritlm prepare KIND OUT ...`: make a corpus folder."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spiritlm_pl.corpora.manifest import read_info


def _report(out: str | Path) -> None:
    info = read_info(out)
    assert info is not None
    parts = ", ".join(
        f"{split} {count} ({info['seconds'][split] / 60:.1f} min)" for split, count in info["utterances"].items()
    )
    skipped = f"; {info['skipped']} skipped, listed in {Path(out) / 'skipped.jsonl'}" if info["skipped"] else ""
    print(f"{out}: {parts}{skipped}")
    print(f"word times: {info['aligned']} of {sum(info['utterances'].values())} utterances")
    print(f"licence: {info['licence']}")
    empty = [split for split, count in info["utterances"].items() if not count]
    if empty:
        print(f"warning: no utterance for {' and '.join(empty)}: give more data or a larger fraction", file=sys.stderr)


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
        out,
        count=count,
        seed=seed,
        voices=voices,
        speed=speed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
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
        voices: eSpeak NG voices that take turns, such as en-us or en-gb+f2; those of other languages than English
            say no numbers and symbols: such sentences are skipped.
        speed: words a minute, 80 to 450.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.spoken import speak_text

    speak_text(
        file,
        out,
        seed=seed,
        voices=voices,
        speed=speed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    _report(out)


def debian_prompts(
    out: str,
    source: str | None = None,
    any_version: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make the corpus of the Asterisk voice prompts: 24 minutes of real speech (CC-BY-SA-3.0).

    The two Debian packages are fetched with `apt-get download` (nothing is installed) and their contents checked.

    Args:
        out: the corpus folder to write.
        source: a folder with the two .deb files, or with what they unpack to, instead of apt-get.
        any_version: accept other recordings than those of the version this was tested with.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.prompts import prepare_prompts

    prepare_prompts(
        out,
        source=source,
        any_version=any_version,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    _report(out)


def folder(
    audio: str,
    out: str,
    table: str | None = None,
    language: str = "en",
    speaker_level: int | None = None,
    licence: str = "unknown",
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    min_sample_rate: int = 16_000,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of a folder of audio with transcripts: x.txt beside x.wav, or a table.

    What cannot be used (missing, empty, damaged, too short, sampled too low, without words) is skipped and listed.

    Args:
        audio: the folder, searched at any depth.
        out: the corpus folder to write; audio that is not 16 kHz mono is converted into it.
        table: a .csv or .tsv with columns path, text and (if known) speaker; paths are relative to `audio`.
        language: of the transcripts.
        speaker_level: which folder below `audio` names the speaker (0 the first); one speaker if not given.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        min_sample_rate: lowest sample rate, in Hz.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in English words,
            utterances of other languages that have any are skipped), else as written.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.folder import read_folder, read_table
    from spiritlm_pl.corpora.ingest import Rules

    if table is not None:
        utterances = read_table(table, audio, language)
    else:
        utterances = read_folder(audio, language, speaker_level)
    rules = Rules(
        min_duration=min_duration, max_duration=max_duration, min_sample_rate=min_sample_rate, spoken_text=spoken_text
    )
    collect(
        out,
        utterances,
        rules,
        name=Path(out).name,
        source=str(Path(table or audio).resolve()),
        licence=licence,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    _report(out)


def amazon_queen(
    out: str,
    source: str | None = None,
    any_version: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of acted English dialogue: the voices of a freeware adventure game, some 140 minutes.

    The Debian package flight-of-the-amazon-queen is fetched with `apt-get download` (nothing is installed). The
    speaker is the character; a clip that does not align with its line is dropped and listed. The recordings are of
    11 kHz, so nothing is above 5.5 kHz.

    Args:
        out: the corpus folder to write.
        source: a folder with the .deb file, or with what it unpacks to, instead of apt-get.
        any_version: accept another archive than that of the version this was tested with.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.amazon_queen import prepare_amazon_queen

    prepare_amazon_queen(
        out,
        source=source,
        any_version=any_version,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    _report(out)


def lhotse_recipe(
    recipe: str,
    corpus_dir: str,
    out: str,
    options: dict[str, Any] | None = None,
    language: str = "en",
    licence: str = "see the corpus",
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of a public one on disk, with lhotse's recipe (librispeech, mls, voxpopuli, ...).

    Parts named train, dev and test stay so, less the sentences of train that are in dev or test; other corpora
    are split by sentence.

    Args:
        recipe: name of the recipe, as in lhotse.recipes.prepare_NAME.
        corpus_dir: the corpus as it was downloaded.
        out: the corpus folder to write.
        options: further arguments of the recipe, such as {"dataset_parts": ["dev-clean"]} or {"lang": "en"}.
        language: of utterances for which the corpus names none.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in English words,
            utterances of other languages that have any are skipped), else as written.
        seed: draws the splits, if the corpus has none.
        validation_fraction: share of the sentences in the validation split, if the corpus has none.
        test_fraction: share of the sentences in the test split, if the corpus has none.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.lhotse_source import parts_to_splits, run_recipe, utterances_of

    with TemporaryDirectory() as scratch:
        parts = run_recipe(recipe, corpus_dir, options, scratch)
        utterances = parts_to_splits(parts, language) or [
            u for cuts in parts.values() for u in utterances_of(cuts, language)
        ]
        collect(
            out,
            utterances,
            Rules(min_duration=min_duration, max_duration=max_duration, spoken_text=spoken_text),
            name=Path(out).name,
            source=str(Path(corpus_dir).resolve()),
            licence=licence,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            num_jobs=num_jobs,
        )
    _report(out)


def lhotse_manifest(
    manifest: str,
    out: str,
    supervisions: str | None = None,
    name: str | None = None,
    language: str = "en",
    licence: str = "see the corpus",
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of lhotse manifests; word times in them are kept where they fit the utterance and its words.

    Args:
        manifest: a manifest of cuts, or of recordings together with `supervisions`.
        out: the corpus folder to write.
        supervisions: a manifest of supervisions, if `manifest` is of recordings.
        name: name of the corpus; that of the file if not given.
        language: of utterances for which the corpus names none.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in English words,
            utterances of other languages that have any are skipped), else as written.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.lhotse_source import read_manifest, utterances_of

    collect(
        out,
        utterances_of(read_manifest(manifest, supervisions), language),
        Rules(min_duration=min_duration, max_duration=max_duration, spoken_text=spoken_text),
        name=name or Path(out).name,
        source=str(Path(manifest).resolve()),
        licence=licence,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    _report(out)


COMMANDS = {
    "debian_prompts": debian_prompts,
    "amazon_queen": amazon_queen,
    "stories": stories,
    "text": text,
    "folder": folder,
    "lhotse_recipe": lhotse_recipe,
    "lhotse_manifest": lhotse_manifest,
}
