"""`spiritlm vocode`: tokens to audio."""

from pathlib import Path
from typing import TYPE_CHECKING

from spiritlm_pl.cli.batch.items import Item, LinesWriter, best_device, file_name, parser, read_items

if TYPE_CHECKING:
    from spiritlm_pl.generation.codec import SpeechCodec
    from spiritlm_pl.generation.types import Speech
    from spiritlm_pl.generation.vocode import Voice

LONGEST = 2_500  # frames of a unit
EPILOG = """\
examples:
  spiritlm vocode tokens.jsonl --audio spoken --out spoken.jsonl
  spiritlm tokenize a.wav | spiritlm vocode - --audio spoken
  echo '{"tokens": "[Hu12][Hu7][Hu3]"}' | spiritlm vocode -

A line of the input holds tokens and, where they are known, durations in frames; one of the output id, audio, seconds.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the command.

    Args:
        arguments: as on the command line, without `spiritlm vocode`; those of the process by default.

    Raises:
        ValueError: if an argument or the model is wrong; what is wrong with an item stands in its line.
        FileNotFoundError: if the model is missing.
    """
    made = parser("vocode", "Speak tokens: JSON lines of `spiritlm tokenize`.", EPILOG)
    made.add_argument(
        "--audio", type=Path, default=Path("spoken"), metavar="FOLDER", help="where wav files go (default: spoken)"
    )
    made.add_argument("--speaker", metavar="VOICE", help="name or number (default: the vocoder's)")
    made.add_argument("--style", metavar="STYLE", help="the vocoder's global style, by name or number, if it has any")
    made.add_argument("--predict-durations", action="store_true", help="even where they are known")
    made.add_argument("--half", action="store_true", help="bfloat16: faster where it can be, a little noise")
    options = made.parse_args(arguments)
    writer = LinesWriter(options.out, options.inputs)
    items = writer.left(read_items(options.inputs))

    from spiritlm_pl.corpora.audio import save_wav
    from spiritlm_pl.generation.codec import SpeechCodec, speech_vocabulary
    from spiritlm_pl.generation.loading import load_vocoder
    from spiritlm_pl.generation.vocode import Voice

    vocoder = load_vocoder(options.model, options.variant, best_device(options.device))
    if vocoder is None:
        raise ValueError(f"model must hold a vocoder, but {options.model} has none")
    if options.half:
        vocoder.use_bfloat16()
    voice = Voice(options.speaker, options.style)
    vocoder.speaker_id(voice.speaker)
    vocoder.style_id(voice.style)
    codec = SpeechCodec(speech_vocabulary(vocoder.config), vocoder=vocoder)
    with writer:
        for item in items:
            try:
                spoken = spoken_item(codec, item, voice, options.predict_durations)
                path = options.audio / f"{file_name(item['id'])}.wav"
                samples = save_wav(path, spoken.waveform, spoken.sample_rate)
            except (ValueError, OSError) as error:
                writer.write(item, error=str(error))
                continue
            writer.write(item, audio=str(path), seconds=round(samples / spoken.sample_rate, 3))


def spoken_item(codec: "SpeechCodec", item: Item, voice: "Voice", predict: bool) -> "Speech":
    """Speech of an item.

    Raises:
        ValueError: if its tokens or durations are no such thing.
    """
    import torch

    from spiritlm_pl.generation.prompt import parse_prompt
    from spiritlm_pl.generation.types import Speech

    tokens, durations = item.get("tokens"), None if predict else item.get("durations")
    if not isinstance(tokens, str):
        raise ValueError(f"tokens must be a string such as [Hu3][Hu7], but is {tokens!r} instead")
    if durations is not None and not (
        isinstance(durations, list) and all(type(one) is int and 0 < one <= LONGEST for one in durations)
    ):
        raise ValueError(f"durations must be frames from 1 to {LONGEST}, but are {str(durations)[:60]} instead")
    ids: list[int] = []
    for piece in parse_prompt(tokens, codec.vocabulary):
        if not isinstance(piece, Speech):
            raise ValueError(f"tokens must be those of speech and nothing else, but hold {piece.text[:40]!r}")
        ids += piece.tokens or ()
    return codec.decode(ids, voice, None if durations is None else torch.tensor(durations))
