"""`spiritlm extend-vocab`: a base language model to one that has speech tokens."""

from dataclasses import replace
from pathlib import Path

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.runtime.model_description import stored_vocabulary
from spiritlm_pl.streams import Stream, delayed, spirit_lm_streams
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


@writes("output")
def extend_vocab(
    base: str,
    output: Path,
    num_units: int | None = None,
    num_pitches: int = 0,
    num_styles: int = 0,
    speech_tokenizer: str | None = None,
    codebook_delay: int | None = None,
    num_tasks: int = 0,
    multiple_of: int = 256,
    rope_theta: float | None = None,
    text_tokenizer: str | None = None,
    seed: int = 0,
) -> None:
    """Add [Text], [Speech] and speech tokens to a causal language model of transformers.

    Examples:
        spiritlm extend-vocab meta-llama/Llama-2-7b-hf data/base_lm/llama-2-7b --num-units 500 --rope-theta 100000
        spiritlm extend-vocab FOLDER OUT --num-units 500 --num-pitches 64 --num-styles 100
        spiritlm extend-vocab FOLDER OUT --speech-tokenizer data/mimi --codebook-delay 1

    Args:
        base: folder or hub name of the base model.
        output: folder of the new model.
        num_units: number of phonetic units; 501, as the published model has, if left out.
        num_pitches: number of pitch codes; 0 for Base.
        num_styles: number of style clusters; 0 for Base.
        speech_tokenizer: folder of any speech tokenizer whose streams the model gets, instead of num_units,
            num_pitches and num_styles.
        codebook_delay: number of frames by which each codebook of a neural codec is delayed against the one before it;
            if left out, that of the base model, or else of the tokenizer.
        num_tasks: number of task markers; 2 for the paper's ASR and TTS ablation, 0 for none.
        multiple_of: the number of embedding rows is padded to a multiple of this, as with the training blocks.
        rope_theta: new base of the rotary position embeddings (Spirit LM: 100000); the model's own if left out.
        text_tokenizer: SentencePiece model or tokenizer folder; needed if the base folder has no tokenizer.
        seed: seed for drawing the new embeddings.
    """
    from spiritlm_pl.lm.base_model import checkpoint_config, model_folder
    from spiritlm_pl.lm.extend_vocab import extend_checkpoint

    source = model_folder(base)
    checkpoint_config(str(source))  # what is no base is told before its tokenizer is missed
    pieces = TextTokenizer.load(text_tokenizer or source).vocab_size
    if speech_tokenizer is None:
        streams = spirit_lm_streams(501 if num_units is None else num_units, num_pitches, num_styles)
    elif num_units is not None or num_pitches or num_styles:
        raise ValueError(
            "num_units, num_pitches and num_styles must be left out with speech_tokenizer, "
            f"but are {num_units}, {num_pitches} and {num_styles} instead"
        )
    else:
        streams = speech_tokenizer_streams(speech_tokenizer)
    trained = stored_vocabulary(source)
    if codebook_delay is None and trained is not None:
        delays = {stream.name: stream.delays for stream in trained.streams}
        streams = tuple(replace(stream, delays=delays.get(stream.name, stream.delays)) for stream in streams)
    vocabulary = Vocabulary(
        num_text=pieces, streams=delayed(streams, codebook_delay), num_tasks=num_tasks, multiple_of=multiple_of
    )
    written = extend_checkpoint(base, output, vocabulary, rope_theta, text_tokenizer, seed)
    print(f"wrote {written}: {vocabulary.num_tokens} tokens in {vocabulary.num_rows} rows")


def speech_tokenizer_streams(folder: str) -> tuple[Stream, ...]:
    """Return the streams of a speech tokenizer as a vocabulary has them: units of Spirit LM without their rate."""
    from spiritlm_pl.tokenizers.expressive import load_tokenizer

    return Vocabulary(streams=load_tokenizer(folder).layout.streams).streams
