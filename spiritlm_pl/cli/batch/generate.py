"""`spiritlm generate --jsonl`: answers to many prompts as JSON lines."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spiritlm_pl.cli.batch.items import Item, LinesWriter, asked, file_name, read_items, warn_of_unknown
from spiritlm_pl.generation.prompt import unknown_characters
from spiritlm_pl.generation.types import OUTPUT_MODALITIES, OutputModality, Text
from spiritlm_pl.runtime.claims import only_writer

NONE_LEFT = "no new tokens were left (--max-new-tokens)"


def generate_lines(
    spirit_lm: Any, source: str, audio: Path, out: Path | None, output: OutputModality, settings: Any
) -> None:
    """Answer the prompts of JSON lines.

    A line holds `prompt` (a string of words and tokens, or a list of `{"text": ...}` and `{"audio": FILE}`) or
    `messages`, and may hold `id` and `output`. A line of the answer holds `answers`, for each sample a list of pieces,
    and `finish_reasons`: for each sample `stop` where the model ended by itself, `length` where it had no new tokens
    left. At the end, the number of answers that stopped is printed.

    Args:
        spirit_lm: model that answers the prompts.
        source: file of JSON lines, or `-` for standard input.
        audio: folder that wav files are written to.
        out: file that lines are appended to; prompts that are already in it are skipped. None for standard output.
        output: modality of the answers to lines without an `output`.
        settings: sampling options of all answers.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if a line is not a JSON object, or another process writes to `out` or `audio`; others
            are written to the answer of their line.
        SystemExit: with status 1 at the end, if a line could not be answered.
    """
    with LinesWriter(out, [source], "lines") as writer, ExitStack() as claimed:
        items = writer.left(read_items([source]))
        if any(item.get("output", output) == "speech" for item in items):
            claimed.enter_context(only_writer(audio, "out"))
        all_reasons: list[str] = []
        unknown: dict[str, None] = {}  # characters, in their order
        for start in range(0, len(items), settings.batch_size):
            by_output: dict[str, list[tuple[Item, Any]]] = {}
            for item in items[start : start + settings.batch_size]:
                try:
                    wanted = item.get("output", output)
                    if wanted not in OUTPUT_MODALITIES:
                        raise ValueError(f"output must be one of {', '.join(OUTPUT_MODALITIES)}, but is {wanted!r}")
                    given = asked(item, "prompt", spirit_lm.vocabulary)
                    prompt = spirit_lm.encode_prompt(given, wanted)
                    spirit_lm.check_room(prompt)
                    lacking = unknown_characters(given, spirit_lm.text_tokenizer, spirit_lm.vocabulary)
                    unknown |= dict.fromkeys(lacking)
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
                    except OSError as error:  # a full disk, or a folder without write access
                        writer.write(item, error=str(error))
        warn_of_unknown(unknown)
        if all_reasons:
            print(how_many_stopped(all_reasons), file=sys.stderr)


def how_many_stopped(reasons: Sequence[str]) -> str:
    """Return a line that tells how many answers ended by themselves."""
    stopped = reasons.count("stop")
    if len(reasons) == 1:
        return "the model stopped by itself" if stopped else f"cut off: {NONE_LEFT}"
    rest = "" if stopped == len(reasons) else f"; the others were cut off: {NONE_LEFT}"
    return f"{stopped} of {len(reasons)} answers stopped by themselves{rest}"


def _described(item: Item, answers: list[Any], folder: Path, vocabulary: Any) -> list[list[dict[str, Any]]]:
    """Return answers as plain values, and write their speech to wav files."""
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
