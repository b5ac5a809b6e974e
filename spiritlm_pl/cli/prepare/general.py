"""Corpora of any layout: folders, tables, lhotse manifests and recipes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spiritlm_pl.cli.prepare.report import report


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
        table: a .csv or .tsv with columns path, text and, if known, speaker and style; paths are relative to `audio`.
            Columns start and end, or start and duration, in seconds, cut utterances out of longer files.
        language: of the transcripts.
        speaker_level: which folder below `audio` names the speaker (0 the first); one speaker if not given.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        min_sample_rate: lowest sample rate, in Hz.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in words, and
            utterances of which it is not certain how they are said are skipped), else as written.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.folder import read_folder
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.tables import read_table

    if table is not None:
        utterances, skipped = read_table(table, audio, language)
    else:
        utterances, skipped = read_folder(audio, language, speaker_level)
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
        skipped=skipped,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        num_jobs=num_jobs,
    )
    report(out)


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
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in words, and
            utterances of which it is not certain how they are said are skipped), else as written.
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
    report(out)


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
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in words, and
            utterances of which it is not certain how they are said are skipped), else as written.
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
    report(out)
