"""`spiritlm generate --jsonl`: many prompts, and lines with the answers."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.batch.items import Item, LinesWriter, file_name, pieces, read_items
from spiritlm_pl.generation.types import OUTPUT_MODALITIES, OutputModality, Text

NONE_LEFT = "no new tokens were left (--max-new-tokens)"


def generate_lines(
    spirit_lm: Any, source: str, audio: Path, out: Path | None, output: OutputModality, settings: Any
) -> None:
    """Answer the prompts of JSON lines.

    A line holds `prompt` (a string of words and tokens, or a list of `{"text": ...}` and `{"audio": FILE}`), and may
    hold `id` and `output`. A line of the answer holds `answers`, for each sample a list of pieces, and
    `finish_reasons`: for each sample `stop` where the model ended by itself, `length` where it had no new tokens left.
    In the end the number that stopped is told.

    Args:
        spirit_lm: answers.
        source: a file, or `-` for standard input.
        audio: folder of the wav files.
        out: file of the lines; those in it are done. None for standard output.
        output: what may be generated where a line does not say.
        settings: sampling options.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if a line is no JSON object; what else is wrong with it stands in its answer.
    """
    writer = LinesWriter(out, [source])
    items = writer.left(read_items([source]))
    all_reasons: list[str] = []
    with writer:
        for start in range(0, len(items), settings.batch_size):
            by_output: dict[str, list[tuple[Item, Any]]] = {}
            for item in items[start : start + settings.batch_size]:
                try:
                    wanted = item.get("output", output)
                    if wanted not in OUTPUT_MODALITIES:
                        raise ValueError(f"output must be one of {', '.join(OUTPUT_MODALITIES)}, but is {wanted!r}")
                    prompt = spirit_lm.encode_prompt(pieces(item.get("prompt")), wanted)
                    spirit_lm.check_room(prompt)
                    by_output.setdefault(wanted, []).append((item, prompt))
                except (ValueError, OSError) as error:
                    writer.write(item, error=str(error))
            for wanted, members in by_output.items():
                found = spirit_lm.generate_encoded([prompt for _, prompt in members], wanted, settings)
                for (item, _), answers in zip(members, found, strict=True):
                    try:
                        reasons = [answer.finish_reason for answer in answers]
                        described = _described(item, answers, audio, spirit_lm.vocabulary)
                        writer.write(item, answers=described, finish_reasons=reasons)
                        all_reasons += reasons
                    except OSError as error:  # a disk that is full, or a folder that is not ours
                        writer.write(item, error=str(error))
    if all_reasons:
        print(how_many_stopped(all_reasons), file=sys.stderr)


def how_many_stopped(reasons: Sequence[str]) -> str:
    """How many of some answers ended by themselves, as a line for the user."""
    stopped = reasons.count("stop")
    if len(reasons) == 1:
        return "the model stopped by itself" if stopped else f"cut off: {NONE_LEFT}"
    rest = "" if stopped == len(reasons) else f"; the others were cut off: {NONE_LEFT}"
    return f"{stopped} of {len(reasons)} answers stopped by themselves{rest}"


def _described(item: Item, answers: list[Any], folder: Path, vocabulary: Any) -> list[list[dict[str, Any]]]:
    """Answers as plain values; speech goes to wav files."""
    from spiritlm_pl.corpora.audio import save_wav
    from spiritlm_pl.generation.stream import speech_string

    described = []
    for sample, answer in enumerate(answers, start=1):
        row: list[dict[str, Any]] = []
        for number, piece in enumerate(answer, start=1):
            if isinstance(piece, Text):
                row.append({"text": piece.text})
                continue
            values: dict[str, Any] = {"tokens": speech_string(piece.tokens, vocabulary)}
            if piece.audio is not None:
                path = folder / f"{file_name(item['id'])}_{sample}_{number}.wav"
                values["audio"] = str(path)
                values["seconds"] = round(save_wav(path, piece.waveform, piece.sample_rate) / piece.sample_rate, 3)
            row.append(values)
        described.append(row)
    return described
