"""Commands that make corpora of any layout: folders, tables, lhotse manifests and recipes."""

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
    overwrite: bool = False,
) -> None:
    """Make a corpus of a folder of audio with transcripts: x.txt beside x.wav, or a table.

    Audio that cannot be used (missing, empty, damaged, too short, sampled too low, without words) is skipped and
    listed.

    Examples:
        spiritlm prepare folder /my/audio data/corpora/mine --language pl --speaker-level 0
        spiritlm prepare folder /my/audio data/corpora/mine --table transcripts.tsv --min-sample-rate 8000

    Args:
        audio: the folder of audio, searched at any depth.
        out: the corpus folder to write; audio that is not 16 kHz mono is converted and stored in it.
        table: a .csv or .tsv file with columns path, text and, if known, speaker and style; paths are relative to
            `audio`. Columns start and end, or start and duration, in seconds, cut utterances out of longer files. Start
            and end in milliseconds, duration, language, channel and split are read as well. If not given, each audio
            file needs a .txt file of the same name.
        language: language code of the transcripts, such as en or pl.
        speaker_level: level of the folder below `audio` that names the speaker, 0 for the first; files that lie in
            fewer folders are skipped. If not given, all files are of one speaker.
        licence: licence of the audio, to be recorded in corpus.json.
        min_duration: shortest utterance to keep, in seconds.
        max_duration: longest utterance to keep, in seconds.
        min_sample_rate: lowest sample rate to accept, in Hz.
        max_overlap: longest time for which another speaker may talk in an utterance, in seconds; with more it is
            skipped.
        spoken_text: whether to keep transcripts as the words that are said, in lower case, with numbers and symbols in
            words; utterances that could be read in several ways are skipped. If false, transcripts are kept as written.
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
    from spiritlm_pl.corpora.sources.folder import read_folder
    from spiritlm_pl.corpora.sources.tables import read_table

    if table is not None and speaker_level is not None:
        raise ValueError("speaker_level must be given without a table, whose column speaker tells speakers, but is not")
    settings: dict[str, Any] = {
        "rules": Rules(
            min_duration=min_duration,
            max_duration=max_duration,
            min_sample_rate=min_sample_rate,
            spoken_text=spoken_text,
        ),
        "source": str(Path(table or audio).resolve()),
        "seed": seed,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "arguments": {
            "audio": str(Path(audio).resolve()),
            "language": language,
            "speaker_level": speaker_level,
            "max_overlap": max_overlap,
        },
        "overwrite": overwrite,
    }
    check_settings(out, **settings)
    if table is not None:
        utterances, skipped = read_table(table, audio, language, max_overlap)
    else:
        utterances, skipped = read_folder(audio, language, speaker_level, own_audio(out))
    collect(out, utterances, name=Path(out).name, licence=licence, skipped=skipped, num_jobs=num_jobs, **settings)
    report(out)


def lhotse_recipes() -> None:
    """Print the arguments of each of lhotse's recipes as a page of Markdown.

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
    overwrite: bool = False,
) -> None:
    """Make a corpus of a public one on disk, with lhotse's recipe (librispeech, mls, voxpopuli, ...).

    Parts named train, dev and test become the splits, without the sentences of train that are also in dev or test;
    other corpora are split by sentence. `spiritlm prepare lhotse-recipes` lists what each recipe needs.

    Examples:
        spiritlm prepare lhotse-recipe librispeech /data/LibriSpeech data/corpora/librispeech
        spiritlm prepare lhotse-recipe tedlium '{tedlium_root: /data/TEDLIUM}' data/corpora/tedlium --num-jobs 8

    Args:
        recipe: name of the recipe, as in lhotse.recipes.prepare_NAME.
        corpus: folder of the corpus as it was downloaded; or, for a recipe that takes other arguments than
            `corpus_dir`, its arguments by name, such as '{audio_dir: /data/icsi, transcripts_dir:
            /data/icsi/transcripts}'.
        out: the corpus folder to write.
        options: further arguments of the recipe, such as {"dataset_parts": ["dev-clean"]} or {"lang": "en"}.
        channel: channel to take of utterances that are on several channels, 0 for the first; if not given, these
            utterances are skipped.
        language: language code of utterances for which the corpus names no language.
        licence: licence of the audio, to be recorded in corpus.json.
        min_duration: shortest utterance to keep, in seconds.
        max_duration: longest utterance to keep, in seconds.
        min_sample_rate: lowest sample rate to accept, in Hz.
        max_overlap: longest time for which another speaker may talk in an utterance, in seconds; with more it is
            skipped.
        spoken_text: whether to keep transcripts as the words that are said, in lower case, with numbers and symbols in
            words; utterances that could be read in several ways are skipped. If false, transcripts are kept as written.
        seed: seed of the random splits, used if the corpus has no splits.
        validation_fraction: share of the sentences in the validation split, used if the corpus has no splits.
        test_fraction: share of the sentences in the test split, used if the corpus has no splits.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.collect import check_settings, collect
    from spiritlm_pl.corpora.ingest import Rules
    from spiritlm_pl.corpora.sources.lhotse_recipes import run_recipe
    from spiritlm_pl.corpora.sources.lhotse_source import utterances_of
    from spiritlm_pl.corpora.splitting import by_split

    settings: dict[str, Any] = {
        "rules": Rules(
            min_duration=min_duration,
            max_duration=max_duration,
            min_sample_rate=min_sample_rate,
            spoken_text=spoken_text,
        ),
        "source": str(Path(corpus).resolve()) if isinstance(corpus, str) else str(corpus),
        "seed": seed,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "arguments": {
            "recipe": recipe,
            "options": options,
            "channel": channel,
            "language": language,
            "max_overlap": max_overlap,
        },
        "overwrite": overwrite,
    }
    check_settings(out, **settings)
    with TemporaryDirectory() as scratch:
        parts, unread = run_recipe(recipe, corpus, options, scratch)
        utterances, unusable = utterances_of(parts, language, channel, scratch, max_overlap)
        collect(
            out,
            by_split(utterances),
            name=Path(out).name,
            licence=licence,
            skipped=[*unread, *unusable],
            num_jobs=num_jobs,
            **settings,
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
    overwrite: bool = False,
) -> None:
    """Make a corpus of lhotse manifests, keeping their word times where these fit the utterance and its words.

    The audio is stored as the manifest describes it, with its transforms, padding and mixing. Where a cut holds only a
    part of an utterance, the words wholly within the cut are kept if their times are known. Utterances that cannot be
    used are skipped and listed. In a folder, files whose names contain train, dev or test become the splits.

    Examples:
        spiritlm prepare lhotse-manifest cuts.jsonl.gz data/corpora/mine
        spiritlm prepare lhotse-manifest recordings.jsonl data/corpora/mine --supervisions supervisions.jsonl

    Args:
        manifest: a manifest of cuts, or of recordings together with `supervisions`; a folder with such manifests (each
            file of recordings beside one of supervisions with a matching name); a Shar folder; or a Kaldi data folder.
        out: the corpus folder to write.
        supervisions: a manifest of supervisions, needed if `manifest` is one of recordings.
        name: name of the corpus; if not given, that of its folder.
        channel: channel to take of utterances that are on several channels, 0 for the first; if not given, these
            utterances are skipped.
        language: language code of utterances for which the manifest names no language.
        licence: licence of the audio, to be recorded in corpus.json.
        min_duration: shortest utterance to keep, in seconds.
        max_duration: longest utterance to keep, in seconds.
        min_sample_rate: lowest sample rate to accept, in Hz.
        max_overlap: longest time for which another speaker may talk in an utterance, in seconds; with more it is
            skipped.
        spoken_text: whether to keep transcripts as the words that are said, in lower case, with numbers and symbols in
            words; utterances that could be read in several ways are skipped. If false, transcripts are kept as written.
        seed: seed of the random splits, used if the manifests have no splits.
        validation_fraction: share of the sentences in the validation split, used if the manifests have no splits.
        test_fraction: share of the sentences in the test split, used if the manifests have no splits.
        num_jobs: number of processes; if not given, one per core.
        overwrite: replace a corpus in `out` that was made with other settings, or that `spiritlm align` has given word
            times since; both are refused otherwise.
    """
    from spiritlm_pl.corpora.collect import check_settings, collect
    from spiritlm_pl.corpora.ingest import Rules, Utterance
    from spiritlm_pl.corpora.sources.kaldi import RECORDINGS_FILE, read_kaldi
    from spiritlm_pl.corpora.sources.lhotse_manifests import read_manifests
    from spiritlm_pl.corpora.sources.lhotse_source import utterances_of
    from spiritlm_pl.corpora.splitting import by_split
    from spiritlm_pl.runtime.left_over import temporary_folder

    settings: dict[str, Any] = {
        "rules": Rules(
            min_duration=min_duration,
            max_duration=max_duration,
            min_sample_rate=min_sample_rate,
            spoken_text=spoken_text,
        ),
        "source": str(Path(manifest).resolve()),
        "seed": seed,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
        "arguments": {
            "supervisions": None if supervisions is None else str(Path(supervisions).resolve()),
            "channel": channel,
            "language": language,
            "max_overlap": max_overlap,
        },
        "overwrite": overwrite,
    }
    check_settings(out, **settings)
    disk = next(folder for folder in (Path(out).resolve(), *Path(out).resolve().parents) if folder.is_dir())
    with temporary_folder(disk / "shar") as scratch:  # on the disk of `out`: Shar audio may be large
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
            name=name or Path(out).name,
            licence=licence,
            skipped=skipped,
            num_jobs=num_jobs,
            **settings,
        )
    report(out)
