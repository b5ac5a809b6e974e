"""`spiritlm vocode`: tokens to audio."""

from pathlib import Path
from typing import TYPE_CHECKING

from spiritlm_pl.cli.batch.items import MODEL, STANDARD, Item, LinesWriter, best_device, file_name, read_items
from spiritlm_pl.interop.release.layout import Variant
from spiritlm_pl.runtime.claims import only_writer

if TYPE_CHECKING:
    from spiritlm_pl.generation.codec import SpeechCodec
    from spiritlm_pl.generation.types import Speech
    from spiritlm_pl.generation.vocode import Voice

LONGEST = 2_500  # largest duration of a unit in frames


def vocode(
    *inputs: str,
    out: Path | None = None,
    audio: Path = Path("spoken"),
    model: Path = MODEL,
    variant: Variant | None = None,
    device: str | None = None,
    speaker: str | None = None,
    style: str | None = None,
    predict_durations: bool = False,
    half: bool = False,
) -> None:
    """Turn tokens, such as the JSON lines of `spiritlm tokenize`, into audio.

    Each line of the input holds tokens and, if they are known, durations in frames; each line of the output holds id,
    audio and seconds. If an item cannot be spoken, its line has id and error, the others are done, and the exit status
    is 1.

    An output line belongs to the input line of its id, whatever its place: the id that the input line gives, or else
    the line's number in its file, from 1 and with empty lines counted (FILE:NUMBER where there are several files).

    Examples:
        spiritlm vocode tokens.jsonl --audio spoken --out spoken.jsonl
        spiritlm tokenize a.wav | spiritlm vocode - --audio spoken
        echo '{"tokens": "[Hu12][Hu7][Hu3]"}' | spiritlm vocode -

    Args:
        inputs: files of JSON lines; - or no file reads standard input.
        out: file that lines are appended to; items that are already in it are skipped, and those that failed are tried
            again, with their lines at the end. Standard output if left out.
        audio: folder that wav files are written to.
        model: model folder, or directory of the published release.
        variant: base or expressive, if the published release holds both.
        device: device to compute on, such as cpu, cuda or cuda:1; if left out, cuda where available, else cpu.
        speaker: voice of the speech, by name or number; the vocoder's default if left out.
        style: global style, by name or number, for a vocoder that has some; its default if left out.
        predict_durations: predict durations even if the items hold them.
        half: compute in bfloat16, which is faster on processors that support it and adds a little noise.

    Raises:
        ValueError: if an argument or the model is wrong; errors in an item are written to its line.
        FileNotFoundError: if the model is missing.
    """
    sources = inputs or (STANDARD,)
    with LinesWriter(out, sources) as writer, only_writer(audio, "audio"):
        items = writer.left(read_items(sources))

        from spiritlm_pl.corpora.audio import save_wav
        from spiritlm_pl.generation.codec import SpeechCodec
        from spiritlm_pl.generation.loading import load_vocoder, speech_vocabulary_of
        from spiritlm_pl.generation.vocode import Voice
        from spiritlm_pl.vocoder.vocoder import Vocoder

        vocoder = load_vocoder(model, variant, best_device(device))
        if vocoder is None:
            raise ValueError(f"model must hold a vocoder, but {model} has none")
        if half:
            if not isinstance(vocoder, Vocoder):
                raise ValueError("--half must be left out for a neural codec")
            vocoder.use_bfloat16()
        voice = Voice(speaker, style)
        vocoder.speaker_id(voice.speaker)
        vocoder.style_id(voice.style)
        codec = SpeechCodec(speech_vocabulary_of(model, vocoder.layout), vocoder=vocoder)
        for item in items:
            try:
                spoken = spoken_item(codec, item, voice, predict_durations)
                path = audio / f"{file_name(item['id'])}.wav"
                samples = save_wav(path, spoken.waveform, spoken.sample_rate)
            except (ValueError, OSError) as error:
                writer.write(item, error=str(error))
                continue
            writer.write(item, audio=str(path), seconds=round(samples / spoken.sample_rate, 3))


def spoken_item(codec: "SpeechCodec", item: Item, voice: "Voice", predict: bool) -> "Speech":
    """Return the speech of an item.

    Raises:
        ValueError: if the item's tokens or durations are not valid.
    """
    import torch

    from spiritlm_pl.generation.codebooks import joined_speech
    from spiritlm_pl.generation.prompt import not_speech, parse_prompt
    from spiritlm_pl.generation.types import Speech

    tokens, durations = item.get("tokens"), None if predict else item.get("durations")
    if tokens is None and "error" in item:
        raise ValueError(f"tokens are missing, as the item could not be tokenised: {item['error']}")
    if not isinstance(tokens, str):
        raise ValueError(f"tokens must be a string such as [Hu3][Hu7], but is {tokens!r} instead")
    if durations is not None and not (
        isinstance(durations, list) and all(type(one) is int and 0 < one <= LONGEST for one in durations)
    ):
        raise ValueError(f"durations must be frames from 1 to {LONGEST}, but are {str(durations)[:60]} instead")
    parts = []
    for piece in parse_prompt(tokens, codec.vocabulary):
        if not isinstance(piece, Speech):
            raise not_speech(piece.text, codec.vocabulary)
        parts.append(piece.tokens or ())
    ids = joined_speech(parts, codec.vocabulary)
    return codec.decode(ids, voice, None if durations is None else torch.tensor(durations))
