"""`spiritlm vocode`: tokens to audio."""

from pathlib import Path

from spiritlm_pl.cli.lines.items import LinesWriter, device, parser, read_items

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
    options = made.parse_args(arguments)
    writer = LinesWriter(options.out)
    items = writer.left(read_items(options.inputs))

    import torch

    from spiritlm_pl.corpora.audio import save_wav
    from spiritlm_pl.generation.codec import SpeechCodec, speech_vocabulary
    from spiritlm_pl.generation.loading import load_speech
    from spiritlm_pl.generation.pieces import Speech
    from spiritlm_pl.generation.prompt import parse_prompt
    from spiritlm_pl.generation.vocode import Voice

    _, vocoder = load_speech(options.model, options.variant, device(options.device))
    if vocoder is None:
        raise ValueError(f"model must hold a vocoder, but {options.model} has none")
    speaker, style = (int(name) if name and name.isdigit() else name for name in (options.speaker, options.style))
    vocoder.speaker_id(speaker)
    vocoder.style_id(style)
    codec = SpeechCodec(speech_vocabulary(vocoder.config), vocoder=vocoder)
    with writer:
        for item in items:
            try:
                if not isinstance(item.get("tokens"), str):
                    raise ValueError(f"tokens must be a string such as [Hu3][Hu7], but is {item.get('tokens')!r}")
                found = [piece for piece in parse_prompt(item["tokens"], codec.vocabulary) if isinstance(piece, Speech)]
                tokens = [token for piece in found for token in piece.tokens or ()]
                known = None if options.predict_durations else item.get("durations")
                spoken = codec.decode(tokens, Voice(speaker, style), None if known is None else torch.tensor(known))
            except ValueError as error:
                writer.write(item, error=str(error))
                continue
            path = options.audio / f"{file_name(item['id'])}.wav"
            samples = save_wav(path, spoken.waveform, spoken.sample_rate)
            writer.write(item, audio=str(path), seconds=round(samples / spoken.sample_rate, 3))


def file_name(name: str) -> str:
    """A name without folders and without what a file system may not like; different ids keep different names."""
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return plain.strip(".-") or "item"
