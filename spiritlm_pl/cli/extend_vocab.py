"""`spiritlm extend-vocab`: a base language model to one that has speech tokens."""

from pathlib import Path

from spiritlm_pl.lm.base_model import checkpoint_config, model_folder
from spiritlm_pl.lm.extend_vocab import extend_checkpoint
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary


def extend_vocab(
    base: str,
    output: Path,
    num_units: int = 501,
    num_pitches: int = 0,
    num_styles: int = 0,
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

    Args:
        base: folder or hub name of the base model.
        output: folder of the new model.
        num_units: phonetic units.
        num_pitches: pitch codes; 0 for Base.
        num_styles: style clusters; 0 for Base.
        num_tasks: task markers; 2 for the ASR and TTS ablation.
        multiple_of: the number of embedding rows is padded to a multiple of this, as that of the blocks was.
        rope_theta: new base of the rotary positions (Spirit LM: 100000); left out, the model's own.
        text_tokenizer: SentencePiece model or tokenizer folder, where the base folder has none.
        seed: of the new embeddings.
    """
    source = model_folder(base)
    checkpoint_config(str(source))  # what is no base is told before its tokenizer is missed
    pieces = TextTokenizer.load(text_tokenizer or source).vocab_size
    vocabulary = Vocabulary(
        num_text=pieces,
        num_units=num_units,
        num_pitches=num_pitches,
        num_styles=num_styles,
        num_tasks=num_tasks,
        multiple_of=multiple_of,
    )
    written = extend_checkpoint(base, output, vocabulary, rope_theta, text_tokenizer, seed)
    print(f"wrote {written}: {vocabulary.num_tokens} tokens in {vocabulary.num_rows} rows")
