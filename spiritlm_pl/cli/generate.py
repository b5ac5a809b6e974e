"""`spiritlm generate`: continue text and speech with text or speech.

The order of the prompt's pieces matters and is kept: `--text` and `--speech` append to one list.
"""

import argparse
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from spiritlm_pl.cli.batch.items import MODEL, best_device, warn_of_unknown
from spiritlm_pl.cli.parser import look
from spiritlm_pl.interop.release.layout import Release, Variant
from spiritlm_pl.runtime.found import found_at

if TYPE_CHECKING:
    from spiritlm_pl.generation.streaming import StreamedPiece, StreamEnd
    from spiritlm_pl.generation.types import Answer, Piece
    from spiritlm_pl.vocabulary import Vocabulary

GROUPS = {
    "prompt (any mix of --text and --speech, in the order given)": ("prompt", "jsonl", "template"),
    "answer": ("output", "num_samples", "out", "lines", "stream", "speaker", "style"),
    "sampling (the defaults are the paper's)": (
        *("temperature", "top_p", "top_k", "greedy", "max_new_tokens", "seed", "min_speech_units"),
    ),
    "model": (
        *("model", "lm", "adapter", "speech_tokenizer", "vocoder", "variant", "device", "dtype", "bits", "compile"),
    ),
}


class AppendPiece(argparse.Action):
    """Option action that appends the words after `--text`, or the file after `--speech`, unchanged to the prompt."""

    appends_to = "prompt"

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Append `{"text": WORDS}` or `{"audio": FILE}`."""
        namespace.prompt = [*(namespace.prompt or ()), {str(self.const): values}]


def add_pieces(group: Any) -> None:
    """Add `--text` and `--speech` to a group of options."""
    for name, key, shown, told in (
        ("--text", "text", "WORDS", "a piece of text"),
        ("--speech", "audio", "FILE", "a piece of speech: an audio file of any sample rate and number of channels"),
    ):
        group.add_argument(
            name, action=AppendPiece, const=key, dest=name[2:], default=argparse.SUPPRESS, metavar=shown, help=told
        )


@look(groups=GROUPS, add=add_pieces)
def generate(
    prompt: list[dict[str, str]] | str | None = None,
    jsonl: str | None = None,
    template: str | None = None,
    output: Literal["text", "speech", "any"] = "any",
    num_samples: int = 1,
    out: Path = Path("generated"),
    lines: Path | None = None,
    stream: bool = False,
    speaker: str | None = None,
    style: str | None = None,
    temperature: float = 0.8,
    top_p: float = 0.95,
    top_k: int = 0,
    greedy: bool = False,
    max_new_tokens: int | None = None,
    seed: int = 0,
    min_speech_units: int | None = None,
    model: Path = MODEL,
    lm: Path | None = None,
    adapter: Path | None = None,
    speech_tokenizer: Path | None = None,
    vocoder: Path | None = None,
    variant: Variant | None = None,
    device: str | None = None,
    dtype: str | None = None,
    bits: Literal[4, 8] | None = None,
    compile: bool = False,
) -> None:
    """Continue a prompt of text and speech.

    A model folder holds the folders lm, speech_tokenizer (for speech prompts) and vocoder (to hear speech); --lm,
    --speech-tokenizer and --vocoder name them one by one instead. The directory of the published release is a model
    folder, too.

    Each line of --jsonl holds a prompt, such as [{"text": "the cat"}, {"audio": "a.wav"}] or "[Text]the
    cat[Speech][Hu3]", and may also hold an id and an output. It may have messages (a role and a content each, as chat
    servers read them) in place of the prompt. All lines are read first: one that is no JSON object, or repeats an id,
    ends the command. If a line cannot be answered, its line of the output has id and error, the others are answered,
    and the exit status is 1. An output line belongs to the input line of its id, whatever its place: the id that the
    input line gives, or else the line's number in its file, from 1 and with empty lines counted.

    Examples:
        spiritlm generate --text "The large language model" --output text
        spiritlm generate --speech question.wav --text "The answer is" --output speech --out answers
        spiritlm generate --lm quickstart/tuned --speech question.wav --template asr --output text
        spiritlm generate --jsonl prompts.jsonl --lines answers.jsonl --model released --variant expressive

    Args:
        prompt: the whole prompt as a list, such as '[{text: the cat}, {audio: a.wav}]'; --text and --speech append to
            it.
        jsonl: a file with many prompts, one per line, instead of a single prompt; - reads standard input.
        template: form in which a tuned model is asked: the name of a task or "chat", if it was tuned on that; or a YAML
            file. The prompt is then the user's turn, and the answer the assistant's. If left out, the model continues
            the prompt as it is, and only messages are asked by a template: "chat", or the only one.
        output: modality of the answer: text, speech, or any mixture of both.
        num_samples: number of answers to each prompt.
        out: folder where wav files are written, in place of those of an earlier command: answer1_1.wav and so on, by
            the numbers of the answer and of its speech; with --jsonl, ID_1_1.wav, by those of the answer and of its
            piece, where a piece of text has no file.
        lines: file that the answers to --jsonl are appended to; prompts whose answers are already in it are skipped,
            and those that failed are tried again, with their lines at the end.
        stream: print the answer while it is generated.
        speaker: voice of the vocoder, by name or number; its default if left out.
        style: global style of the vocoder, by name or number; its default if left out, or none for a vocoder without
            styles.
        temperature: divisor of the logits; higher values give more varied answers.
        top_p: sample only from the likeliest tokens that together have this probability; 1 samples from all.
        top_k: sample only from this number of likeliest tokens; 0 samples from all.
        greedy: always take the likeliest token.
        max_new_tokens: largest number of tokens in an answer, those of each codebook counted; if left out, 50 to text,
            200 from text to speech, 300 otherwise, and those of 8 and 12 seconds for codes of a codec.
        seed: seed of the sampling; the same seed gives the same answer.
        min_speech_units: smallest number of units, or frames of a codec, of a stretch of speech with --output any;
            shorter ones are dropped. If left out, 25, and the frames of a second for a codec.
        model: model folder, or directory of the published release.
        lm: folder of the language model; MODEL/lm if left out.
        adapter: folder of an adapter that was trained on this model (LoRA), to use with it; none if left out.
        speech_tokenizer: folder of the speech tokenizer; if left out, MODEL/speech_tokenizer if it exists.
        vocoder: folder of the vocoder; if left out, MODEL/vocoder if it exists.
        variant: base or expressive, if the published release holds both.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        dtype: number format of the weights, such as float32 or bfloat16; as stored if left out.
        bits: quantize the weights to 8 or 4 bits, which needs bitsandbytes; not quantized if left out.
        compile: compile the network with torch, which is slow at first and faster afterwards.

    Raises:
        ValueError: if the prompt is empty or longer than the context, or a folder does not hold the expected part.
        FileNotFoundError: if a file or the model is missing.
    """
    if isinstance(prompt, str):
        raise ValueError(
            f"prompt must be a list such as '[{{text: the cat}}, {{audio: a.wav}}]', but is {prompt[:40]!r} instead: "
            "a string of words and tokens is the prompt of a line of --jsonl"
        )
    given = prompt_pieces(prompt or [])
    if jsonl is None:
        check_prompt(given)
    check_out(out)
    named = (lm, speech_tokenizer, vocoder)
    check_combination(jsonl is not None, bool(given or stream), lines is not None, Release.is_at(model), any(named))

    from spiritlm_pl.cli.batch.generate import generate_lines
    from spiritlm_pl.generation import GenerationSettings, LoadOptions, Speech, SpiritLM
    from spiritlm_pl.generation.asking import find_template, trained_templates
    from spiritlm_pl.generation.loading import ModelFolders
    from spiritlm_pl.generation.prompt import unknown_characters

    settings = GenerationSettings(
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        greedy=greedy,
        max_new_tokens=max_new_tokens,
        seed=seed,
        num_samples=num_samples,
        min_speech_units=min_speech_units,
    )
    loading = LoadOptions(
        device=best_device(device),
        dtype=dtype,
        bits=bits,
        compiled=compile,
        adapter=adapter,
        only_generates=jsonl is None,
    )
    path = model if Release.is_at(model) else ModelFolders.find(model, *named)
    if isinstance(path, ModelFolders) and jsonl is None and not any((speech_tokenizer, vocoder, speaker, style)):
        path = path.without_speech(any(isinstance(piece, Speech) for piece in given), output != "text")
    form = None if template is None else find_template(trained_templates(path, adapter), template)
    hide_loading()
    spirit_lm = SpiritLM.from_pretrained(path, variant, loading, speaker, style)
    if form is not None:
        spirit_lm = spirit_lm.asked_by(form)
    if jsonl is not None:
        generate_lines(spirit_lm, jsonl, out, lines, output, settings)
        return
    warn_of_unknown(unknown_characters(given, spirit_lm.text_tokenizer, spirit_lm.vocabulary))
    if stream:
        answers = [told(spirit_lm.stream(given, output, settings))]
    else:
        with progress_bar() as progress:
            answers = spirit_lm.generate(given, output, settings, progress)
    heard = {Path(one["audio"]).resolve() for one in prompt or [] if "audio" in one}
    write_answers(answers, out, spirit_lm.vocabulary, stream, heard)
    if spirit_lm.vocoder is None and any(isinstance(piece, Speech) for pieces in answers for piece in pieces):
        print("no vocoder was given, so speech is shown as tokens", file=sys.stderr)


def hide_loading() -> None:
    """Hide the bar of reading the weights, which would disturb the output, without importing what may not be needed."""
    if "transformers" not in sys.modules:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # is read when it is imported
        return
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def prompt_pieces(prompt: list[dict[str, str]]) -> "list[Piece]":
    """Convert the dictionaries of a prompt to `Text` and `Speech`.

    Raises:
        ValueError: if a dictionary is neither a text nor an audio.
    """
    from spiritlm_pl.generation.types import Speech, Text

    for one in prompt:
        if len(one) != 1 or not {*one} <= {"text", "audio"}:
            raise ValueError(f"a piece of the prompt must be a text or an audio, but is {one} instead")
    return [Text(one["text"]) if "text" in one else Speech(one["audio"]) for one in prompt]


def check_prompt(prompt: "list[Piece]") -> None:
    """Check a prompt before anything slow is loaded.

    Raises:
        ValueError: if the prompt, or a text in it, is empty.
        FileNotFoundError: if a file is missing.
    """
    from spiritlm_pl.generation.types import Speech, Text

    if not prompt:
        raise ValueError("--text, --speech or --prompt must be given at least once, but none is")
    for piece in prompt:
        if isinstance(piece, Text) and not piece.text.strip():
            raise ValueError(f"--text must hold at least one word, but is {piece.text!r} instead")
        if isinstance(piece, Speech) and not Path(str(piece.audio)).is_file():
            raise FileNotFoundError(f"--speech must be an audio file, but {found_at(str(piece.audio))}")


def check_out(out: Path) -> None:
    """Check that answers can be written into a folder.

    Raises:
        ValueError: if it is a file.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, but {found_at(out)}")


def check_combination(many: bool, one: bool, lines: bool, release: bool, named: bool) -> None:
    """Refuse combinations of options in which one of them would have no effect.

    Args:
        many: whether `--jsonl` is given.
        one: whether a single prompt or `--stream` is given.
        lines: whether `--lines` is given.
        release: whether `--model` is the directory of the published release.
        named: whether `--lm`, `--speech-tokenizer` or `--vocoder` is given.

    Raises:
        ValueError: if an option would have no effect.
    """
    for name, clash in (
        ("--text, --speech and --stream must not be given with --jsonl", many and one),
        ("--lines must be given with --jsonl", lines and not many),
        ("--lm, --speech-tokenizer and --vocoder must not be given with the published release", named and release),
    ):
        if clash:
            raise ValueError(f"{name}: it would have no effect")


@contextmanager
def progress_bar() -> Iterator[Any]:
    """Show a progress bar on the error stream; yields the function to call with the tokens done and in all."""
    columns = (TextColumn("generating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("generating")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def write_answers(
    answers: "list[Answer]", folder: Path, vocabulary: "Vocabulary", printed: bool, heard: Collection[Path]
) -> None:
    """Print the text of answers, write their speech to wav files, and print the names of these files.

    How many answers stopped by themselves is printed on the error stream.

    Args:
        answers: answers in the order in which they are printed.
        folder: folder of the wav files; it is created if there is speech.
        vocabulary: layout of the token ids, for writing speech without audio as tokens.
        printed: whether the text has been printed already.
        heard: resolved paths of the prompt's audio, which is not written over: its answer has "%2" in its name.
    """
    from spiritlm_pl.cli.batch.generate import how_many_stopped
    from spiritlm_pl.generation.stream import speech_string
    from spiritlm_pl.generation.types import Text

    for number, pieces in enumerate(answers, start=1):
        if len(answers) > 1:
            print(f"--- {number} ---")
        if not pieces:
            print("(nothing)")
        spoken = 0
        for piece in pieces:
            if isinstance(piece, Text):
                if not printed:
                    print(piece.text)
            elif piece.audio is None:
                assert piece.tokens is not None
                print(speech_string(piece.tokens, vocabulary))
            else:
                from spiritlm_pl.corpora.audio import save_wav  # a text does not wait for it

                spoken += 1
                path, other = folder / f"answer{number}_{spoken}.wav", 1
                while path.resolve() in heard:
                    other += 1
                    path = folder / f"answer{number}_{spoken}%{other}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_wav(path, piece.waveform, piece.sample_rate)
                print(f"[speech, {len(piece.waveform) / piece.sample_rate:.1f} s: {path}]")
    print(how_many_stopped([answer.finish_reason for answer in answers]), file=sys.stderr)


def told(stream: "Iterator[StreamedPiece | StreamEnd]") -> "Answer":
    """Print an answer while it is generated, text as words and speech as its length so far; return the whole answer."""
    import torch

    from spiritlm_pl.generation.streaming import StreamEnd
    from spiritlm_pl.generation.types import Answer, FinishReason, Piece, Speech, Text

    answer: list[Piece] = []
    reason: FinishReason = "length"
    for new in stream:
        if isinstance(new, StreamEnd):
            reason = new.finish_reason
            continue
        if isinstance(new.piece, Text):
            print(new.piece.text, end="", flush=True)
        if new.number == len(answer):
            answer.append(new.piece)
            continue
        before = answer[new.number]
        if isinstance(before, Text) and isinstance(new.piece, Text):
            answer[new.number] = Text(before.text + new.piece.text)
        elif isinstance(before, Speech) and isinstance(new.piece, Speech):
            waveform = torch.cat([before.waveform, new.piece.waveform])
            answer[new.number] = Speech(waveform, new.piece.sample_rate)
            print(f"\r[speech, {len(waveform) / new.piece.sample_rate:.1f} s so far]", end="", file=sys.stderr)
    print()
    return Answer(answer, reason)
