"""`spiritlm extend-vocab`: a base language model to one that has speech tokens."""

from pathlib import Path

from spiritlm_pl.lm.base_model import checkpoint_config, model_folder
from spiritlm_pl.lm.extend_vocab import extend_checkpoint
from spiritlm_pl.streams import PITCH, STYLE, UNIT, Stream, delayed, spirit_lm_streams
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


def extend_vocab(
    base: str,
    output: Path,
    num_units: int | None = None,
    num_pitches: int = 0,
    num_styles: int = 0,
    speech_tokenizer: str | None = None,
    codebook_delay: int = 0,
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
        output: folder to write the new model to.
        num_units: number of phonetic units; if left out, 501 as in the published model.
        num_pitches: number of pitch codes; 0 for a Base model.
        num_styles: number of style codes; 0 for a Base model.
        speech_tokenizer: folder of any speech tokenizer whose streams the model gets, instead of num_units, num_pitches
            and num_styles.
        codebook_delay: number of frames by which each codebook of a neural codec lags behind the one before it; 0 keeps
            all codes of a frame together.
        num_tasks: number of task markers; 2 for the ASR and TTS ablation.
        multiple_of: the number of embedding rows is padded to a multiple of this, as in the training blocks.
        rope_theta: new base of the rotary positions (Spirit LM: 100000); if left out, the model's own.
        text_tokenizer: SentencePiece model or tokenizer folder; needed if the base folder has no tokenizer.
        seed: seed of the random new embeddings.
    """
    source = model_folder(base)
    checkpoint_config(str(source))  # a folder without a model is reported as such, not as one without a tokenizer
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
    vocabulary = Vocabulary(
        num_text=pieces, streams=delayed(streams, codebook_delay), num_tasks=num_tasks, multiple_of=multiple_of
    )
    written = extend_checkpoint(base, output, vocabulary, rope_theta, text_tokenizer, seed)
    print(f"wrote {written}: {vocabulary.num_tokens} tokens in {vocabulary.num_rows} rows")


def speech_tokenizer_streams(folder: str) -> tuple[Stream, ...]:
    """Return the streams of a speech tokenizer as a vocabulary keeps them; those of Spirit LM have no rate there."""
    from spiritlm_pl.tokenizers.expressive import load_tokenizer

    layout = load_tokenizer(folder).layout
    if not layout.phonetic:
        return layout.streams
    return spirit_lm_streams(*(layout.size(name) for name in (UNIT, PITCH, STYLE)))
