"""Loading of the parts of a model from model folders or from the published release in its original form."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch

from spiritlm_pl.contracts.speech_tokenizer import check_tokenizer
from spiritlm_pl.contracts.vocoder import CodebookDecoder
from spiritlm_pl.generation.codec import speech_vocabulary
from spiritlm_pl.generation.own_model import OwnModel, read_own_model
from spiritlm_pl.generation.synthesis import AnyVocoder, check_synthesis
from spiritlm_pl.interop.release.layout import VARIANTS, Release, Variant
from spiritlm_pl.interop.unit_lms.layout import UnitLayout
from spiritlm_pl.runtime.checkpoint import is_own_class
from spiritlm_pl.runtime.devices import check_device
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.runtime.model_description import (
    CONFIG_FILE,
    DESCRIPTION_FILE,
    LM,
    SPEECH_TOKENIZER,
    VOCODER,
    read_vocabulary,
    stored_vocabulary,
)
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.vocabulary import Vocabulary

if TYPE_CHECKING:
    from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer
    from spiritlm_pl.generation.sampling import AnyModel
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Options for loading a language model.

    Args:
        device: device that the model computes on, such as "cpu", "cuda" or "cuda:1".
        dtype: number format of the weights, such as "bfloat16"; as stored if not given.
        bits: 8 or 4 for weights quantized by bitsandbytes; None for unquantized weights.
        compiled: whether to compile the model with torch, which is slow at first and faster afterwards.
        adapter: folder of an adapter that was trained on this language model; None for the model alone.
        only_generates: whether the model does nothing but generate, so that one like Llama in float32 on a CPU may be
            read without `transformers`, which takes seconds to import (`spiritlm_pl.generation.own_model`).
    """

    device: str = "cpu"
    dtype: str | None = None
    bits: int | None = None
    compiled: bool = False
    adapter: Path | None = None
    only_generates: bool = False

    def __post_init__(self) -> None:
        """Check that this machine has the device."""
        check_device(self.device)

    def torch_dtype(self) -> torch.dtype | None:
        """Return the number format of the weights.

        Raises:
            ValueError: if the name is not that of a supported dtype.
        """
        found = None if self.dtype is None else getattr(torch, self.dtype, None)
        if self.dtype is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
            raise ValueError(f"dtype must be float32, bfloat16 or float16, but is {self.dtype} instead")
        return found


@dataclass(frozen=True)
class ModelFolders:
    """Folders of the parts of a model, which needs a tokenizer to read audio and a vocoder to make audio.

    Args:
        lm: folder of the language model.
        speech_tokenizer: folder of the speech tokenizer; None for none.
        vocoder: folder of the vocoder; None for none.
        unit_layout: ids of a language model of units alone that others have trained; None to tell them by its files.
    """

    lm: Path
    speech_tokenizer: Path | None = None
    vocoder: Path | None = None
    unit_layout: UnitLayout | None = None

    @classmethod
    def find(
        cls,
        path: str | Path,
        lm: Path | None = None,
        speech_tokenizer: Path | None = None,
        vocoder: Path | None = None,
        needs_lm: bool = True,
        unit_layout: UnitLayout | None = None,
    ) -> "ModelFolders":
        """Find the parts in a model folder, except those given; a language model alone is a model folder, too.

        Args:
            path: model folder.
            lm: folder of the language model; None for that in the model folder.
            speech_tokenizer: folder of the speech tokenizer; None for that in the model folder, if there is one.
            vocoder: folder of the vocoder; None for that in the model folder, if there is one.
            needs_lm: whether there must be a language model, even if there is a speech tokenizer or a vocoder.
            unit_layout: ids of a language model of units alone; None to tell them by its files.

        Raises:
            FileNotFoundError: if there is no language model, or nothing at all.
        """
        path = Path(path)
        alone = (path / DESCRIPTION_FILE).is_file() or ((path / CONFIG_FILE).is_file() and not (path / LM).is_dir())
        inside = path if alone else path / LM
        lm = lm or inside
        there = [part if part.is_dir() else None for part in (path / SPEECH_TOKENIZER, path / VOCODER)]
        if not lm.is_dir() and (needs_lm or there == [None, None]):
            nor = f", and {path} is no language model itself" if lm == path / LM and path.is_dir() else ""
            raise FileNotFoundError(f"language model must be a folder, but {found_at(lm)}{nor}")
        return cls(lm, speech_tokenizer or there[0], vocoder or there[1], unit_layout)

    def without_speech(self, heard: bool, spoken: bool) -> "ModelFolders":
        """Leave out the parts for speech that are not used, so that nothing waits until they are loaded.

        Args:
            heard: whether there is audio to read.
            spoken: whether there may be speech to make. A model without a vocoder may speak with its tokenizer.
        """
        tokenizer = self.speech_tokenizer if heard or (spoken and self.vocoder is None) else None
        return replace(self, speech_tokenizer=tokenizer, vocoder=self.vocoder if spoken else None)


LoadedLM: TypeAlias = tuple["AnyModel", "TextTokenizer", Vocabulary]
Parts = tuple[LoadedLM, "SpeechTokenizer | None", AnyVocoder | None]


def load_parts(path: str | Path | ModelFolders, variant: Variant | None, options: LoadOptions) -> Parts:
    """Load language model, speech tokenizer and vocoder, and check that they fit together.

    Args:
        path: model folder, folders of its parts, or directory of the published release.
        variant: "base" or "expressive", needed if the published release holds both.
        options: options for loading the language model.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file does not hold the expected part, the parts do not fit together, or the variant is not
            clear.
    """
    tokenizer = load_speech_tokenizer(path, variant, options.device)
    named = isinstance(path, ModelFolders) or not Release.is_at(path)
    own = named and _folders(path, variant).vocoder is None  # then it is the tokenizer that speaks, if anything does
    vocoder = _speaking(tokenizer) if own else load_vocoder(path, variant, options.device)
    if not isinstance(path, ModelFolders) and Release.is_at(path):
        from spiritlm_pl.interop.release.language_model import read_lm

        folder = Release(Path(path)).lm(chosen_variant(Release(Path(path)), variant))
        loaded: LoadedLM = read_lm(folder, options.device, options.torch_dtype(), options.bits)
    else:
        folder = _folders(path, variant).lm
        loaded = _load_lm(_folders(path, variant), options)
    if options.adapter is not None:
        from spiritlm_pl.adapters.folder import with_adapter

        network = with_adapter(cast(Any, loaded[0]), options.adapter, folder, loaded[2], merged=options.bits is None)
        loaded = (network, *loaded[1:])
    if not isinstance(loaded[0], OwnModel):
        loaded[0].requires_grad_(False)  # so that packed weights are kept from one answer to the next
        if options.compiled:
            loaded[0].compile()
    if tokenizer is not None:
        check_tokenizer(tokenizer.layout, loaded[2], _named(path, SPEECH_TOKENIZER))
    if vocoder is not None:
        check_synthesis(vocoder, loaded[2], _named(path, VOCODER))
    return loaded, tokenizer, vocoder


def _load_lm(folders: ModelFolders, options: LoadOptions) -> LoadedLM:
    """Load a language model of ours, or one of units alone that others have trained.

    Raises:
        ValueError: if a layout is given for a model of ours, which has its own, or the folder holds no such model.
    """
    own = (folders.lm / DESCRIPTION_FILE).is_file() or not (folders.lm / CONFIG_FILE).is_file()
    if own and folders.unit_layout is not None:
        raise ValueError(f"unit_layout must be left out for {folders.lm}, which is no language model of units alone")
    if own and (found := _own_lm(folders.lm, options)) is not None:
        return found
    from spiritlm_pl.interop.unit_lms.reading import read_unit_lm
    from spiritlm_pl.lm.folder import load_lm

    how = options.device, options.torch_dtype(), options.bits
    return load_lm(folders.lm, *how) if own else read_unit_lm(folders.lm, folders.unit_layout, *how)


def _own_lm(folder: Path, options: LoadOptions) -> LoadedLM | None:
    """Load a language model without `transformers`; None where that cannot be done, or the options ask for more."""
    plain = options.only_generates and options.dtype in (None, "float32") and torch.device(options.device).type == "cpu"
    if not plain or options.bits is not None or options.compiled or options.adapter is not None:
        return None
    from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer

    vocabulary = read_vocabulary(folder)
    network = read_own_model(folder, vocabulary.num_rows)
    return None if network is None else (network, TextTokenizer.load_fitting(folder, vocabulary), vocabulary)


def load_speech_tokenizer(
    path: str | Path | ModelFolders, variant: Variant | None = None, device: str = "cpu"
) -> "SpeechTokenizer | None":
    """Load only the speech tokenizer, for inference; return None if a model folder has none.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a file does not hold the expected part, or the variant is not clear.
    """
    tokenizer: SpeechTokenizer
    if not isinstance(path, ModelFolders) and Release.is_at(path):
        from spiritlm_pl.interop.release.speech import read_tokenizer

        release = Release(Path(path))
        tokenizer = read_tokenizer(release, chosen_variant(release, variant)).to(device)
    else:
        folders = _folders(path, variant, needs_lm=False)
        if folders.speech_tokenizer is None:
            return None
        from spiritlm_pl.tokenizers.expressive import load_tokenizer  # with F0, which takes a while to import

        tokenizer = load_tokenizer(folders.speech_tokenizer, device)
    prepare(cast(Any, tokenizer), device)
    return tokenizer


def load_vocoder(
    path: str | Path | ModelFolders, variant: Variant | None = None, device: str = "cpu"
) -> AnyVocoder | None:
    """Load only the vocoder, for inference; otherwise as `load_speech_tokenizer`.

    A model with the tokenizer of a neural codec needs no folder of its own for a vocoder: the codec decodes, too.
    """
    if not isinstance(path, ModelFolders) and Release.is_at(path):
        from spiritlm_pl.interop.release.speech import read_speaker

        release = Release(Path(path))
        vocoder: AnyVocoder = read_speaker(release, chosen_variant(release, variant)).to(device)
    else:
        folders = _folders(path, variant, needs_lm=False)
        if folders.vocoder is None:
            return _speaking(load_speech_tokenizer(folders, None, device))
        vocoder = load_speaking_part(folders.vocoder, device)
    prepare(cast(Any, vocoder), device)
    return vocoder


def _speaking(tokenizer: "SpeechTokenizer | None") -> CodebookDecoder | None:
    """Return the speech tokenizer if it decodes speech as well; None otherwise."""
    return tokenizer if isinstance(tokenizer, CodebookDecoder) else None


def speech_vocabulary_of(path: str | Path | ModelFolders, layout: SpeechLayout) -> Vocabulary:
    """Return a vocabulary of speech tokens, with the delays of codebooks that the language model was trained with.

    Args:
        path: model folder, or directory of the published release.
        layout: streams of the speech tokenizer or the vocoder.
    """
    streams = layout.streams
    if isinstance(path, ModelFolders) or not Release.is_at(path):
        trained = stored_vocabulary(_folders(path, None, needs_lm=False).lm)
        delays = {} if trained is None else {stream.name: stream.delays for stream in trained.streams}
        streams = tuple(replace(stream, delays=delays.get(stream.name, stream.delays)) for stream in streams)
    return speech_vocabulary(SpeechLayout(streams))


def load_speaking_part(folder: str | Path, device: str | torch.device = "cpu") -> AnyVocoder:
    """Load a vocoder, or the decoder of a neural codec, in evaluation mode.

    Args:
        folder: folder of an exported vocoder, or of a speech tokenizer that also decodes.
        device: device that the part computes on.

    Raises:
        ValueError: if the folder holds neither.
    """
    if not is_own_class(folder):
        from spiritlm_pl.runtime.checkpoint import load_network

        return cast(AnyVocoder, load_network(folder, "vocoder", device))
    from spiritlm_pl.tokenizers.expressive import load_tokenizer  # with F0, which takes a while to import

    found = load_tokenizer(folder, device)
    if not isinstance(found, CodebookDecoder):
        raise ValueError(f"vocoder must be a folder of one, or a speech tokenizer that decodes, but is {folder}")
    return found


def _folders(path: str | Path | ModelFolders, variant: Variant | None, needs_lm: bool = True) -> ModelFolders:
    """Return the folders of a model that is not the published release.

    Raises:
        ValueError: if a variant is given, which only the published release has.
    """
    folders = path if isinstance(path, ModelFolders) else ModelFolders.find(path, needs_lm=needs_lm)
    if variant is not None:
        raise ValueError(f"variant must be left out for a model folder, but is {variant} instead")
    return folders


def _named(path: str | Path | ModelFolders, part: str) -> Path:
    """Return the folder of a part, for errors."""
    return getattr(path, part) if isinstance(path, ModelFolders) else Path(path) / part


def chosen_variant(release: Release, variant: str | None) -> Variant:
    """Return the given variant, or the only one of the published release.

    Raises:
        ValueError: if the variant is unknown or missing, or one of several must be given.
    """
    there = release.variants
    if variant is None and len(there) == 1:
        return there[0]
    if variant not in VARIANTS or (variant not in there and there):
        names = " or ".join(there) or f"{' or '.join(VARIANTS)}, whose language models are not in {release.folder}"
        raise ValueError(f"variant must be {names}, but is {variant or 'left out'} instead")
    return variant
