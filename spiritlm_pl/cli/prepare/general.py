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
    max_overlap: float = 0.05,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of a folder of audio with transcripts: x.txt beside x.wav, or a table.

    What cannot be used (missing, empty, damaged, too short, sampled too low, without words) is skipped and listed.

    Examples:
        spiritlm prepare folder /my/audio data/corpora/mine --language pl --speaker-level 0
        spiritlm prepare folder /my/audio data/corpora/mine --table transcripts.tsv --min-sample-rate 8000

    Args:
        audio: the folder, searched at any depth.
        out: the corpus folder to write; audio that is not 16 kHz mono is converted into it.
        table: a .csv or .tsv with columns path, text and, if known, speaker and style; paths are relative to `audio`.
            Columns start and end, or start and duration, in seconds, cut utterances out of longer files. Start and end
            in milliseconds, duration, language, channel and split are read, too.
        language: of the transcripts.
        speaker_level: which folder below `audio` names the speaker (0 the first); one speaker if not given. Files in
            too few folders are skipped.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        min_sample_rate: lowest sample rate, in Hz.
        max_overlap: seconds for which another speaker may talk in an utterance; more is skipped.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in words, and
            utterances of which it is not certain how they are said are skipped), else as written.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.sources.folder import read_folder
    from spiritlm_pl.corpora.sources.tables import read_table

    if table is not None and speaker_level is not None:
        raise ValueError("speaker_level must be given without a table, whose column speaker tells speakers, but is not")
    if table is not None:
        utterances, skipped = read_table(table, audio, language, max_overlap)
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


def lhotse_recipes() -> None:
    """Print what each of lhotse's recipes needs, as a page of Markdown.

    Examples:
        spiritlm prepare lhotse-recipes
        spiritlm prepare lhotse-recipes > recipes.md
    """
    from spiritlm_pl.corpora.sources.lhotse_recipes import recipe_table

    print(recipe_table(), end="")


def lhotse_recipe(
    recipe: str,
    corpus: dict[str, Any] | str,
    out: str,
    options: dict[str, Any] | None = None,
    channel: int | None = None,
    language: str = "en",
    licence: str = "see the corpus",
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    min_sample_rate: int = 16_000,
    max_overlap: float = 0.05,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of a public one on disk, with lhotse's recipe (librispeech, mls, voxpopuli, ...).

    Parts named train, dev and test stay so, less the sentences of train that are in dev or test; other corpora
    are split by sentence. `spiritlm prepare lhotse-recipes` tells what each recipe needs.

    Examples:
        spiritlm prepare lhotse-recipe librispeech /data/LibriSpeech data/corpora/librispeech
        spiritlm prepare lhotse-recipe tedlium '{tedlium_root: /data/TEDLIUM}' data/corpora/tedlium --num-jobs 8

    Args:
        recipe: name of the recipe, as in lhotse.recipes.prepare_NAME.
        corpus: the corpus as it was downloaded; or, for a recipe that needs others than `corpus_dir`, the arguments of
            the recipe by name, such as '{audio_dir: /data/icsi, transcripts_dir: /data/icsi/transcripts}'.
        out: the corpus folder to write.
        options: further arguments of the recipe, such as {"dataset_parts": ["dev-clean"]} or {"lang": "en"}.
        channel: to take of utterances that are on several channels (0 the first); they are skipped if not given.
        language: of utterances for which the corpus names none.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        min_sample_rate: lowest sample rate, in Hz.
        max_overlap: seconds for which another speaker may talk in an utterance; more is skipped.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in words, and
            utterances of which it is not certain how they are said are skipped), else as written.
        seed: draws the splits, if the corpus has none.
        validation_fraction: share of the sentences in the validation split, if the corpus has none.
        test_fraction: share of the sentences in the test split, if the corpus has none.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.sources.lhotse_recipes import run_recipe
    from spiritlm_pl.corpora.sources.lhotse_source import utterances_of
    from spiritlm_pl.corpora.splitting import by_split

    rules = Rules(
        min_duration=min_duration, max_duration=max_duration, min_sample_rate=min_sample_rate, spoken_text=spoken_text
    )
    with TemporaryDirectory() as scratch:
        parts, unread = run_recipe(recipe, corpus, options, scratch)
        utterances, unusable = utterances_of(parts, language, channel, scratch, max_overlap)
        collect(
            out,
            by_split(utterances),
            rules,
            name=Path(out).name,
            source=str(Path(corpus).resolve()) if isinstance(corpus, str) else str(corpus),
            licence=licence,
            skipped=[*unread, *unusable],
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
    channel: int | None = None,
    language: str = "en",
    licence: str = "see the corpus",
    min_duration: float = 0.2,
    max_duration: float = 100.0,
    min_sample_rate: int = 16_000,
    max_overlap: float = 0.05,
    spoken_text: bool = True,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
) -> None:
    """Make a corpus of lhotse manifests; word times in them are kept where they fit the utterance and its words.

    What is stored is the audio that the manifest describes, with its transforms, padding and mixing. Of an utterance
    that a cut holds in part, the words wholly within it are kept if their times are known. What cannot be used is
    skipped and listed. Files of a folder whose names tell train, dev or test stay so.

    Examples:
        spiritlm prepare lhotse-manifest cuts.jsonl.gz data/corpora/mine
        spiritlm prepare lhotse-manifest recordings.jsonl data/corpora/mine --supervisions supervisions.jsonl

    Args:
        manifest: a manifest of cuts, or of recordings together with `supervisions`; a folder with such (each file of
            recordings beside one of supervisions, with names alike); a Shar folder; a Kaldi data folder.
        out: the corpus folder to write.
        supervisions: a manifest of supervisions, if `manifest` is of recordings.
        name: name of the corpus; that of its folder if not given.
        channel: to take of utterances that are on several channels (0 the first); they are skipped if not given.
        language: of utterances for which the corpus names none.
        licence: under what licence the audio stands, for corpus.json.
        min_duration: shortest utterance, in seconds.
        max_duration: longest utterance, in seconds.
        min_sample_rate: lowest sample rate, in Hz.
        max_overlap: seconds for which another speaker may talk in an utterance; more is skipped.
        spoken_text: keep transcripts as the words that are said (lower case; numbers and symbols in words, and
            utterances of which it is not certain how they are said are skipped), else as written.
        seed: draws the splits.
        validation_fraction: share of the sentences in the validation split.
        test_fraction: share of the sentences in the test split.
        num_jobs: processes; one a core if not given.
    """
    from spiritlm_pl.corpora.collect import collect
    from spiritlm_pl.corpora.ingest import Rules, Utterance
    from spiritlm_pl.corpora.sources.kaldi import RECORDINGS_FILE, read_kaldi
    from spiritlm_pl.corpora.sources.lhotse_manifests import read_manifests
    from spiritlm_pl.corpora.sources.lhotse_source import utterances_of
    from spiritlm_pl.corpora.splitting import by_split

    rules = Rules(
        min_duration=min_duration, max_duration=max_duration, min_sample_rate=min_sample_rate, spoken_text=spoken_text
    )
    disk = next(folder for folder in (Path(out).resolve(), *Path(out).resolve().parents) if folder.is_dir())
    with TemporaryDirectory(dir=disk, prefix=".shar-") as scratch:  # as large as the audio within a Shar folder
        utterances: list[Utterance] | dict[str, list[Utterance]]
        if (Path(manifest) / RECORDINGS_FILE).is_file():
            utterances, skipped = read_kaldi(manifest, language, max_overlap)
        else:
            parts, unread = read_manifests(manifest, supervisions, scratch)
            by_part, unusable = utterances_of(parts, language, channel, scratch, max_overlap)
            utterances, skipped = by_split(by_part), [*unread, *unusable]
        collect(
            out,
            utterances,
            rules,
            name=name or Path(out).name,
            source=str(Path(manifest).resolve()),
            licence=licence,
            skipped=skipped,
            seed=seed,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            num_jobs=num_jobs,
        )
    report(out)
