"""`spiritlm import-codec`: a neural codec of transformers as speech tokenizer and vocoder in one."""

from pathlib import Path

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.registry import trust_given
from spiritlm_pl.runtime.found import held_in


@writes("out")
def import_codec(
    source: str, out: Path, num_codebooks: int = 8, semantic: bool = False, class_path: str = "", device: str = "cpu"
) -> None:
    """Turn a neural codec (Mimi, EnCodec, DAC, ...) into a folder that tokenizes speech and speaks it.

    Use the folder wherever a speech tokenizer or a vocoder is asked for. The codes of a frame become tokens one after
    the other; `--codebook-delay` of `build-blocks` and `extend-vocab` delays each codebook against the one before.

    Examples:
        spiritlm import-codec kyutai/mimi data/mimi --semantic true
        spiritlm import-codec facebook/encodec_24khz data/encodec --num-codebooks 4

    Args:
        source: folder or hub name of a codec of transformers.
        out: folder to write the codec to.
        num_codebooks: number of codebooks that are kept, from the first on; more give better sound and longer
            sequences.
        semantic: whether the first codebook becomes a stream of its own, whose loss is logged on its own; meant for
            codecs such as Mimi, whose first codebook carries the content of speech.
        class_path: dotted path of the codec's class, such as transformers.MimiModel; left out, the class that
            transformers has for it.
        device: device on which the codec is tried out: cpu, cuda, cuda:1, ...

    Raises:
        ValueError: if the source is no codec, is one that cannot be used, or has fewer codebooks; or if `out` is
            not empty.
    """
    trust_given(*([class_path] if class_path and not class_path.startswith("transformers.") else []))
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.runtime.checkpoint import TOKENIZER_STAGE, save_network
    from spiritlm_pl.runtime.lineage import write_note
    from spiritlm_pl.tokenizers.neural_codec import NeuralCodec

    if held := held_in(out):
        raise ValueError(f"out must be a new folder, but {out} holds {', '.join(held[:3])}")
    disable_progress_bar()
    codec = NeuralCodec.load_pretrained(source, num_codebooks, semantic, class_path, device)
    save_network(out, codec, TOKENIZER_STAGE, extra={"source": source})
    write_note(out, "import_codec", [source])
    streams = "; ".join(
        f"{stream.name}: {stream.num_codebooks} x {stream.size} codes at {stream.rate:g} Hz"
        for stream in codec.layout.streams
    )
    tokens = codec.layout.tokens_per_frame * codec.frame_rate
    print(f"{out}: {streams}; {tokens:g} tokens a second, audio of {codec.sample_rate} Hz")
