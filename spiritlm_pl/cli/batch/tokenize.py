"""`spiritlm tokenize`: audio to tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.batch.items import Item, LinesWriter, audio_items, best_device, parser
from spiritlm_pl.corpora.decoding import declared_seconds

EPILOG = """\
examples:
  spiritlm tokenize recordings/ --out tokens.jsonl
  spiritlm tokenize a.wav b.flac
  ls *.wav | jq -R '{audio: .}' -c | spiritlm tokenize - --model released --variant expressive

A line holds id, tokens ([Hu12][Hu7]...), the durations of the units in frames, and seconds.
"""
WINDOW_SECONDS = 1_800.0  # of audio that is held at once, to batch utterances of like length


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: as on the command line, without `spiritlm tokenize`; those of the process by default.

    Raises:
        ValueError: if an argument or the model is wrong; what is wrong with a file stands in its line.
        FileNotFoundError: if the model is missing.
    """
    made = parser("tokenize", "Turn audio into tokens: files, folders, or JSON lines with audio.", EPILOG)
    made.add_argument(
        "--batch-seconds", type=float, default=60.0, metavar="S", help="audio that is computed at once (default: 60)"
    )
    made.add_argument("--half", action="store_true", help="bfloat16: faster where it can be, some units differ")
    options = made.parse_args(arguments)
    if options.batch_seconds <= 0:
        raise ValueError(f"--batch-seconds must be above 0, but is {options.batch_seconds} instead")
    writer = LinesWriter(options.out, options.inputs)
    items = writer.left(audio_items(options.inputs))

    from spiritlm_pl.generation.codec import SpeechCodec, speech_vocabulary
    from spiritlm_pl.generation.loading import load_speech_tokenizer

    where = best_device(options.device)
    tokenizer = load_speech_tokenizer(options.model, options.variant, where)
    if tokenizer is None:
        raise ValueError(f"model must hold a speech tokenizer, but {options.model} has none")
    codec = SpeechCodec(speech_vocabulary(tokenizer.layout), tokenizer, device=where, half=options.half)
    with writer:
        for window in windows(items):
            for item, values in tokenized(codec, window, options.batch_seconds):
                writer.write(item, **values)


def windows(items: list[Item]) -> Iterator[list[Item]]:
    """Items in stretches of half an hour of audio; what does not tell its length counts as a minute."""
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
    """Each item with the values of its line."""
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
            yield (
                item,
                {
                    "tokens": speech_string(found.tokens, codec.vocabulary),
                    "durations": found.durations.tolist(),
                    "seconds": round(seconds[place], 3),
                },
            )
