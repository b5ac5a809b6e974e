"""`spiritlm import-release`: the published checkpoints as model folders of ours."""

from pathlib import Path
from typing import Literal


def import_release(directory: Path, out: Path, variant: Literal["base", "expressive", "all"] = "all") -> None:
    """Turn the published checkpoints into model folders, which every command here takes.

    `spiritlm generate --model OUT/base` speaks with it; OUT/base/lm can be trained further and exported.

    Args:
        directory: the release, with the folders `spiritlm_model` and `speech_tokenizer`.
        out: where to; one folder a variant.
        variant: which one; all that are there if left out.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or holds something else.
    """
    from transformers.utils.logging import disable_progress_bar

    from spiritlm_pl.generation.loading import chosen_variant
    from spiritlm_pl.release.importing import import_release as parts
    from spiritlm_pl.release.layout import SPEECH, Release

    disable_progress_bar()
    release = Release(directory)
    if not Release.is_at(directory):
        raise FileNotFoundError(f"directory must be the published release, but {directory / SPEECH} does not exist")
    variants = release.variants if variant == "all" else (chosen_variant(release, variant),)
    if not variants:
        raise FileNotFoundError(f"directory must hold a language model, but {release.lm('base')} does not exist")
    for folder in parts(release, out, variants):
        print(folder, flush=True)
