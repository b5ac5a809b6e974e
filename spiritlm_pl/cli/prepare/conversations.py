"""`spiritlm prepare conversations`: records of conversations and a corpus of their audio."""

from pathlib import Path
from typing import Literal


def conversations(
    source: list[str],
    out: str,
    task: Literal["asr", "tts", "intent"] | None = None,
    audio_root: str | None = None,
    licence: str = "unknown",
    max_duration: float = 100.0,
    min_sample_rate: int = 16_000,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> None:
    """Check conversations of text and audio, and make a corpus of their audio that is tokenised like any.

    The source is JSON lines (also compressed), lists in JSON, Parquet, csv or tsv, or a folder of Dataset.save_to_disk,
    whose rows have `messages` (OpenAI, transformers), `conversations` (sharegpt), `turns`; or, with a task, columns of
    audio and text or label. Rows that say by `split` what is held out keep their splits. What cannot be used is left
    out, counted and listed. Then:

        spiritlm predict --config tokenize/base --data.init_args.corpora '[OUT]' ...
        spiritlm build-conversations '[UNITS]' LM BLOCKS --records '[OUT]'

    Examples:
        spiritlm prepare conversations '[chat.jsonl]' data/chat
        spiritlm prepare conversations '[train-00000.parquet]' data/commands --task asr
        spiritlm prepare conversations '[dialogues.json]' data/dialogues --audio-root /data/wavs
        spiritlm prepare conversations '[fsc/data/train_data.csv]' data/intents --task intent --audio-root fsc

    Args:
        source: files, folders and patterns of conversations; csv and tsv files are named one by one or by a pattern.
        out: folder to write: a corpus, and conversations-SPLIT.jsonl beside it.
        task: what rows of audio and text (or label) become: "asr", "tts" or "intent"; left out where rows hold turns.
        audio_root: folder to which paths of audio are relative; left out, the folder of their file.
        licence: licence of the audio, to be recorded in corpus.json.
        max_duration: longest piece of audio to keep, in seconds.
        min_sample_rate: lowest sample rate to accept, in Hz.
        validation_fraction: share of the conversations in the validation split.
        test_fraction: share of the conversations in the test split.
        seed: seed of the random splits.
        num_jobs: number of processes; one per core if left out.
        overwrite: replace conversations in `out` that were prepared with other settings, which is refused otherwise.
    """
    from spiritlm_pl.conversations.prepare import prepare_conversations
    from spiritlm_pl.corpora.layout import read_info

    counts, skipped = prepare_conversations(
        source,
        out,
        task=task,
        audio_root=audio_root,
        licence=licence,
        max_duration=max_duration,
        min_sample_rate=min_sample_rate,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
        num_jobs=num_jobs,
        overwrite=overwrite,
    )
    info = read_info(out) or {}
    spoken = sum(info.get("utterances", {}).values())
    minutes = sum(info.get("seconds", {}).values()) / 60
    parts = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    print(f"{out}: {parts} conversations, with {spoken:,} pieces of audio ({minutes:.1f} min)")
    print(f"roles and texts: {Path(out) / 'conversations-train.jsonl'}")
    for line in skipped.lines():
        print(f"Left out: {line}")
