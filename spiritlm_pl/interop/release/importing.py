"""Import of the published release as folders of this package, which every command accepts.

Each variant becomes a model folder: `OUT/base/{lm,speech_tokenizer,vocoder}` and `OUT/expressive/...`. Weights of the
language model are mapped from the disk and written shard by shard, so that a 7B model needs the memory of one shard.
"""

from collections.abc import Iterator
from pathlib import Path

from transformers import GenerationConfig

from spiritlm_pl.contracts.speech_tokenizer import check_tokenizer
from spiritlm_pl.interop.release.hubert import read_hubert
from spiritlm_pl.interop.release.language_model import read_lm_parts
from spiritlm_pl.interop.release.layout import Release, Variant
from spiritlm_pl.interop.release.speech import read_speaker, read_tokenizer
from spiritlm_pl.interop.release.vocoder import WEIGHTS as GENERATOR
from spiritlm_pl.interop.release.vocoder import read_vocoder
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checkpoint import check_finite, save_network
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.model_description import LM, SPEECH_TOKENIZER, VOCODER
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocoder.config import check_vocoder


def import_release(release: Release, out: str | Path, variants: tuple[Variant, ...]) -> Iterator[Path]:
    """Write model folders, and yield the path of each part when it is complete.

    Args:
        release: directory of the release.
        out: folder to write to, with one folder for each variant.
        variants: names of the variants to import.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file is damaged, or holds something else.
    """
    speech = {variant: (read_tokenizer(release, variant), read_speaker(release, variant)) for variant in variants}
    for variant, (tokenizer, vocoder) in speech.items():  # checks everything before anything is written
        source = release.lm(variant)
        if source.is_dir():
            vocabulary, _, weights = read_lm_parts(source)
            check_finite(weights, source)
            check_tokenizer(tokenizer.layout, vocabulary, release.speech)
            check_vocoder(vocoder.config, vocabulary, release.vocoder(variant))
    for variant, (tokenizer, vocoder) in speech.items():
        folder = Path(out) / variant
        yield tokenizer.save(folder / SPEECH_TOKENIZER)
        yield save_network(folder / VOCODER, vocoder, VOCODER)
        if release.lm(variant).is_dir():
            yield import_lm(release.lm(variant), folder / LM)


def import_part(path: Path, out: str | Path, layer: int) -> Path:
    """Write a HuBERT's file as a feature extractor, or a folder with a unit vocoder as a vocoder; return the folder.

    Args:
        path: path of the file or folder.
        out: folder to write to.
        layer: number of the layer of the HuBERT whose output is the features, counted from 1.

    Raises:
        FileNotFoundError: if `path` is neither of them.
        ValueError: if a file is damaged, or holds something else.
    """
    if path.is_file():
        return save_network(out, read_hubert(path, layer), "features")
    if (path / GENERATOR).is_file():
        return save_network(out, read_vocoder(path), VOCODER)
    raise FileNotFoundError(
        "directory must be the published release, a HuBERT's file or a vocoder's folder, "
        f"but {f'{path} is none of them' if path.is_dir() else found_at(path)}"
    )


def import_lm(source: Path, folder: Path) -> Path:
    """Write a published language model as a folder of this package, which is returned; errors as `read_lm_parts`."""
    vocabulary, network, weights = read_lm_parts(source)
    config = network.config
    network.generation_config = GenerationConfig(bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id)
    return save_lm(folder, network, vocabulary, TextTokenizer.load(source), weights)
