"""`spiritlm tokenize`: audio to tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.batch.items import MODEL, STANDARD, Item, LinesWriter, audio_items, best_device
from spiritlm_pl.interop.release.layout import Variant

WINDOW_SECONDS = 1_800.0  # seconds of audio that are held at once, to batch utterances of similar length


def tokenize(
    *inputs: str,
    out: Path | None = None,
    model: Path = MODEL,
    variant: Variant | None = None,
    device: str | None = None,
    batch_seconds: float = 60.0,
    half: bool = False,
) -> None:
    """Turn audio into tokens: files, folders, or JSON lines with audio.

    Each line holds id, tokens ([Hu12][Hu7]...), the durations of the units in frames, and seconds; the codes of a
    neural codec have no durations, as each lasts a frame. If audio cannot be used, its line has id and error, the
    others are done, and the exit status is 1. Lines come in another order than the input, from short to long: one
    belongs to the audio of its id, which is the path of the file, what a line of JSON gives as its id, or else that
    line's number in its file, from 1 and with empty lines counted (FILE:NUMBER where there are several inputs).

    Examples:
        spiritlm tokenize recordings/ --out tokens.jsonl
        spiritlm tokenize a.wav b.flac
        ls *.wav | jq -R '{audio: .}' -c | spiritlm tokenize - --model released --variant expressive

    Args:
        inputs: audio files, folders with audio, or files of JSON lines; - or no input reads JSON lines from standard
            input.
        out: file that lines are appended to; items that are already in it are skipped, and those that failed are tried
            again, with their lines at the end. Standard output if left out.
        model: model folder, or directory of the published release.
        variant: base or expressive, if the published release holds both.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        batch_seconds: seconds of audio that are computed together.
        half: compute in bfloat16, which is faster on processors that support it; some units differ.

    Raises:
        ValueError: if an argument or the model is wrong; errors in a file are written to its line.
        FileNotFoundError: if the model is missing.
    """
    if batch_seconds <= 0:
        raise ValueError(f"--batch-seconds must be above 0, but is {batch_seconds} instead")
    sources = inputs or (STANDARD,)
    with LinesWriter(out, sources) as writer:
        items = writer.left(audio_items(sources))

        from spiritlm_pl.generation.codec import SpeechCodec
        from spiritlm_pl.generation.loading import load_speech_tokenizer, speech_vocabulary_of

        where = best_device(device)
        tokenizer = load_speech_tokenizer(model, variant, where)
        if tokenizer is None:
            raise ValueError(f"model must hold a speech tokenizer, but {model} has none")
        codec = SpeechCodec(speech_vocabulary_of(model, tokenizer.layout), tokenizer, device=where, half=half)
        for window in windows(items):
            for item, values in tokenized(codec, window, batch_seconds):
                writer.write(item, **values)


def windows(items: list[Item]) -> Iterator[list[Item]]:
    """Group items into windows of half an hour of audio; files of unknown length count as a minute."""
    from spiritlm_pl.corpora.decoding import declared_seconds

    window, held = list[Item](), 0.0
    for item in items:
        seconds = declared_seconds(Path(str(item["audio"]))) or 60.0
        if window and held + seconds > WINDOW_SECONDS:
            yield window
            window, held = [], 0.0
        window.append(item)
        held += seconds
    if window:
        yield window


def tokenized(codec: Any, items: list[Item], batch_seconds: float) -> Iterator[tuple[Item, dict[str, Any]]]:
    """Yield each item with the values of its line."""
    from spiritlm_pl.data.batching import by_length
    from spiritlm_pl.generation.stream import speech_string
    from spiritlm_pl.generation.types import Speech

    sound: list[tuple[Item, Speech]] = []
    for item in items:
        if not isinstance(item["audio"], str):
            yield item, {"error": f"audio must be a file, but is {item['audio']!r} instead"}
            continue
        try:
            sound.append((item, codec.checked(Speech(item["audio"]))))
        except (ValueError, OSError) as error:
            yield item, {"error": str(error)}
    seconds = [len(speech.waveform) / speech.sample_rate for _, speech in sound]
    for batch in by_length(seconds, batch_seconds):
        chosen = [sound[place] for place in batch]
        for place, (item, _), found in zip(batch, chosen, codec.encode_batch([one for _, one in chosen]), strict=True):
            if isinstance(found, ValueError):
                yield item, {"error": str(found)}
                continue
            durations = {} if found.durations is None else {"durations": found.durations.tolist()}
            tokens = speech_string(found.tokens, codec.vocabulary)
            yield item, {"tokens": tokens, **durations, "seconds": round(seconds[place], 3)}
