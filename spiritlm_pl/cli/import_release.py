"""`spiritlm import-release`: conversion of the published checkpoints to model folders."""

from pathlib import Path
from typing import Literal

from spiritlm_pl.cli.parser import writes
from spiritlm_pl.runtime.found import found_at


@writes("out")
def import_release(
    directory: Path, out: Path, variant: Literal["base", "expressive", "all"] = "all", layer: int = 11
) -> None:
    """Turn the published checkpoints into model folders, which every command here takes.

    `spiritlm generate --model OUT/base` speaks with it; OUT/base/lm can be trained further and exported. A single part
    can be imported, too: a HuBERT becomes features to train a quantizer on (`data.features.features`), a unit vocoder
    in the published form, also one of 50 Hz units, becomes a vocoder.

    Examples:
        spiritlm import-release release models --variant expressive
        spiritlm import-release mhubert_base_25hz.pt data/features --layer 11

    Args:
        directory: the release, with the folders `spiritlm_model` and `speech_tokenizer`; or a HuBERT's file, the
            published or fairseq's own; or a vocoder's folder with `config.json` and `generator.pt`.
        out: folder to write to; each variant becomes a folder in it.
        variant: variant of a release to import; if left out, all that it holds.
        layer: transformer layer whose output becomes the features, for a HuBERT alone.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or is not of the published form.
    """
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation.loading import chosen_variant
    from spiritlm_pl.interop.release.importing import import_part
    from spiritlm_pl.interop.release.importing import import_release as parts
    from spiritlm_pl.interop.release.layout import Release

    disable_progress_bar()
    release = Release(directory)
    if not Release.is_at(directory):
        print(import_part(directory, out, layer))
        return
    variants = release.variants if variant == "all" else (chosen_variant(release, variant),)
    if not variants:
        raise FileNotFoundError(f"directory must hold a language model, but {found_at(release.lm('base'))}")
    for folder in parts(release, out, variants):
        print(folder, flush=True)
