"""`spiritlm join-tokenizers`: a phonetic, a pitch and a style tokenizer as one expressive tokenizer."""

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.registry import trust_given


@writes("out")
def join_tokenizers(phonetic: str, pitch: str, style: str, out: str, f0: str = "fcpe") -> None:
    """Put three trained tokenizers into one folder, for `predict`, `generate` and the callbacks.

    Examples:
        spiritlm join-tokenizers data/speech_tokenizer runs/pitch/export data/tokenizer_style data/expressive
        spiritlm join-tokenizers data/speech_tokenizer runs/pitch/export data/tokenizer_style out --f0 yaapt

    Args:
        phonetic: tokenizer folder that gives units.
        pitch: exported pitch VQ-VAE (`spiritlm fit --config pitch/...`).
        style: tokenizer folder that gives one code a second (`spiritlm fit --config style/...`).
        out: folder to write, which the files are copied into.
        f0: F0 extractor for speech without stored F0: a registered name or the path of a class.
    """
    trust_given(f0)
    from spiritlm_pl.runtime.lineage import write_note
    from spiritlm_pl.streams import PITCH, STYLE, UNIT
    from spiritlm_pl.tokenizers.expressive import join_tokenizers as join

    layout = join(phonetic, pitch, style, out, f0)
    write_note(out, "join_tokenizers", [phonetic, pitch, style])
    print(
        f"{out}: {layout.size(UNIT)} units at {layout.frame_rate:g} Hz, {layout.size(PITCH)} pitch codes at 12.5 Hz "
        f"(F0 by {f0}), {layout.size(STYLE)} style codes at 1 Hz"
    )
