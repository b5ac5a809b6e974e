"""`spiritlm generate`: continue text and speech with text or speech.

The order of the prompt's pieces matters and is kept: `--text` and `--speech` append to one list.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from spiritlm_pl.cli.batch.generate import generate_lines, how_many_stopped
from spiritlm_pl.cli.batch.items import best_device
from spiritlm_pl.generation.loading import LoadOptions, ModelFolders
from spiritlm_pl.generation.sampling import SPEECH_TOKENS, TEXT_TO_SPEECH_TOKENS, TEXT_TOKENS, GenerationSettings
from spiritlm_pl.generation.types import OUTPUT_MODALITIES, Answer, FinishReason, Piece, Speech, Text
from spiritlm_pl.interop.release.layout import VARIANTS, Release
from spiritlm_pl.runtime.model_description import LM, SPEECH_TOKENIZER, VOCODER
from spiritlm_pl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.generation.streaming import StreamedPiece, StreamEnd

EPILOG = """\
examples:
  spiritlm generate --text "The large language model" --output text
  spiritlm generate --speech question.wav --text "The answer is" --output speech --out answers
  spiritlm generate --speech story.wav --output any --num-samples 4 --seed 7
  spiritlm generate --jsonl prompts.jsonl --lines answers.jsonl --model released --variant expressive

A model folder holds the folders lm, speech_tokenizer (for speech prompts) and vocoder (to hear speech);
--lm, --speech-tokenizer and --vocoder name them one by one instead. The directory of the published release
is a model folder, too.

A line of --jsonl holds a prompt, [{"text": "the cat"}, {"audio": "a.wav"}] or "[Text]the cat[Speech][Hu3]",
and may hold an id and an output.
"""
DEFAULT_MODEL = "quickstart/model"


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="spiritlm generate",
        description="Continue a prompt of text and speech.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    prompt = parser.add_argument_group("prompt (any mix, in the order given)")
    prompt.add_argument(
        "--text", dest="prompt", action="append", type=Text, metavar="WORDS", default=[], help="a piece of text"
    )
    prompt.add_argument(
        "--speech",
        dest="prompt",
        action="append",
        type=Speech,
        metavar="FILE",
        help="a piece of speech: an audio file of any sample rate and number of channels",
    )
    prompt.add_argument("--jsonl", metavar="FILE", help="many prompts instead, one a line; - for standard input")
    answer = parser.add_argument_group("answer")
    answer.add_argument(
        "--output", choices=OUTPUT_MODALITIES, default="any", help="what may be generated (default: %(default)s)"
    )
    answer.add_argument("--num-samples", type=int, metavar="N", help="answers (default: %(default)s)")
    answer.add_argument(
        "--out",
        type=Path,
        default=Path("generated"),
        metavar="FOLDER",
        help="where wav files are written (default: %(default)s)",
    )
    answer.add_argument(
        "--lines", type=Path, metavar="FILE", help="where the answers to --jsonl go; those in it are done"
    )
    answer.add_argument("--stream", action="store_true", help="tell the answer while it is made")
    answer.add_argument(
        "--speaker", metavar="VOICE", help="the vocoder's voice, by name or number (default: the vocoder's)"
    )
    answer.add_argument("--style", metavar="STYLE", help="the vocoder's global style, by name or number, if it has any")
    sampling = parser.add_argument_group("sampling (the defaults are the paper's)")
    sampling.add_argument("--temperature", type=float, metavar="T", help="higher is wilder (default: %(default)s)")
    sampling.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="sample from the likeliest tokens of this probability (default: %(default)s)",
    )
    sampling.add_argument(
        "--top-k", type=int, metavar="K", help="sample from the K likeliest tokens; 0 for all (default: %(default)s)"
    )
    sampling.add_argument("--greedy", action="store_true", help="always take the likeliest token")
    sampling.add_argument(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help=f"default: {TEXT_TOKENS} to text, {TEXT_TO_SPEECH_TOKENS} from text to speech, {SPEECH_TOKENS} otherwise",
    )
    sampling.add_argument(
        "--seed", type=int, metavar="N", help="the same seed gives the same answer (default: %(default)s)"
    )
    sampling.add_argument(
        "--min-speech-units",
        type=int,
        metavar="N",
        help="with --output any, shorter stretches of speech are dropped (default: %(default)s)",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        type=Path,
        default=Path(DEFAULT_MODEL),
        metavar="FOLDER",
        help="what training has exported (default: %(default)s)",
    )
    model.add_argument("--lm", type=Path, metavar="FOLDER", help=f"language model (default: MODEL/{LM})")
    model.add_argument(
        "--speech-tokenizer", type=Path, metavar="FOLDER", help=f"default: MODEL/{SPEECH_TOKENIZER}, if it is there"
    )
    model.add_argument("--vocoder", type=Path, metavar="FOLDER", help=f"default: MODEL/{VOCODER}, if it is there")
    model.add_argument("--variant", choices=VARIANTS, help="where the published release holds both")
    model.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 ... (default: cuda if there)")
    model.add_argument("--dtype", metavar="TYPE", help="of the weights: float32, bfloat16 ... (default: as stored)")
    model.add_argument("--bits", type=int, choices=(4, 8), help="quantize the weights (needs bitsandbytes)")
    model.add_argument("--compile", action="store_true", help="with torch: slow at first, then faster")
    parser.set_defaults(**asdict(GenerationSettings()))
    return parser


def check_prompt(prompt: list[Piece]) -> None:
    """Complain about a prompt before anything slow is loaded.

    Raises:
        ValueError: if it is empty.
        FileNotFoundError: if a file is missing.
    """
    if not prompt:
        raise ValueError("prompt must hold at least one --text or --speech, but is empty instead")
    for piece in prompt:
        if isinstance(piece, Text) and not piece.text.strip():
            raise ValueError(f"--text must hold at least one word, but is {piece.text!r} instead")
        if isinstance(piece, Speech) and not Path(str(piece.audio)).is_file():
            raise FileNotFoundError(f"--speech must be an audio file, but {piece.audio} does not exist")


def check_combination(options: argparse.Namespace) -> None:
    """Refuse options of which one would be without effect.

    Raises:
        ValueError: if there are such.
    """
    many, release = options.jsonl is not None, Release.is_at(options.model)
    named = options.lm or options.speech_tokenizer or options.vocoder
    for name, clash in (
        ("--text, --speech and --stream must not be given with --jsonl", many and (options.prompt or options.stream)),
        ("--lines must be given with --jsonl", options.lines and not many),
        ("--lm, --speech-tokenizer and --vocoder must not be given with the published release", named and release),
    ):
        if clash:
            raise ValueError(f"{name}: it would have no effect")


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A bar on the terminal's error stream while tokens are generated; yields what is to be called."""
    columns = (TextColumn("generating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("generating")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def write_answers(answers: list[Answer], folder: Path, vocabulary: Vocabulary, printed: bool = False) -> None:
    """Print text, write speech to wav files, and print their names; on the error stream, how many answers stopped.

    Args:
        answers: the pieces of each.
        folder: where wav files go; created when there is speech.
        vocabulary: names the tokens of speech that was not spoken.
        printed: whether the text has been printed already.
    """
    from spiritlm_pl.corpora.audio import save_wav
    from spiritlm_pl.generation.stream import speech_string

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
                spoken += 1
                path = folder / f"answer{number}_{spoken}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_wav(path, piece.waveform, piece.sample_rate)
                print(f"[speech, {len(piece.waveform) / piece.sample_rate:.1f} s: {path}]")
    print(how_many_stopped([answer.finish_reason for answer in answers]), file=sys.stderr)


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: as on the command line, without `spiritlm generate`; those of the process by default.

    Raises:
        ValueError: if the prompt is empty or longer than the context, or a folder holds something else.
        FileNotFoundError: if a file or the model is missing.
    """
    options = build_parser().parse_args(arguments)
    if options.jsonl is None:
        check_prompt(options.prompt)
    check_combination(options)
    settings = GenerationSettings(**{name: getattr(options, name) for name in asdict(GenerationSettings())})
    loading = LoadOptions(
        device=best_device(options.device), dtype=options.dtype, bits=options.bits, compiled=options.compile
    )
    path: Path | ModelFolders = options.model
    if not Release.is_at(options.model):
        path = ModelFolders.find(options.model, options.lm, options.speech_tokenizer, options.vocoder)

    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation.spirit_lm import SpiritLM

    disable_progress_bar()  # of reading the weights
    model = SpiritLM.from_pretrained(path, options.variant, loading, options.speaker, options.style)
    if options.jsonl is not None:
        generate_lines(model, options.jsonl, options.out, options.lines, options.output, settings)
        return
    if options.stream:
        answers = [told(model.stream(options.prompt, options.output, settings))]
    else:
        with progress_bar() as progress:
            answers = model.generate(options.prompt, options.output, settings, progress)
    write_answers(answers, options.out, model.vocabulary, options.stream)
    if model.vocoder is None and any(isinstance(piece, Speech) for pieces in answers for piece in pieces):
        print("no vocoder was given, so speech is shown as tokens", file=sys.stderr)


def told(stream: "Iterator[StreamedPiece | StreamEnd]") -> Answer:
    """Print text as it comes, and how much speech there is so far; returns the whole pieces."""
    import torch

    from spiritlm_pl.generation.streaming import StreamEnd

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
