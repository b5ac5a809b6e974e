"""`spiritlm join-tokenizers`: a phonetic, a pitch and a style tokenizer as one expressive tokenizer."""

from spiritlm_pl.speech.extractors import ExtractorName


def join_tokenizers(phonetic: str, pitch: str, style: str, out: str, f0: ExtractorName = "fcpe") -> None:
    """Put three trained tokenizers into one folder, for `predict`, `generate` and the callbacks.

    Examples:
        spiritlm join-tokenizers data/speech_tokenizer runs/pitch/export data/tokenizer_style data/expressive
        spiritlm join-tokenizers data/speech_tokenizer runs/pitch/export data/tokenizer_style out --f0 yaapt

    Args:
        phonetic: tokenizer folder that gives units.
        pitch: exported pitch VQ-VAE (`spiritlm fit --config pitch/...`).
        style: tokenizer folder that gives one code a second (`spiritlm fit --config style/...`).
        out: folder to write; the files are copied.
        f0: extractor for speech whose F0 was not extracted before.
    """
    from spiritlm_pl.lineage import write_note
    from spiritlm_pl.speech.expressive import join_tokenizers as join

    layout = join(phonetic, pitch, style, out, f0)
    write_note(out, "join_tokenizers", [phonetic, pitch, style])
    print(
        f"{out}: {layout.num_units} units at {layout.frame_rate:g} Hz, {layout.num_pitches} pitch codes at 12.5 Hz "
        f"(F0 by {f0}), {layout.num_styles} style codes at 1 Hz"
    )
