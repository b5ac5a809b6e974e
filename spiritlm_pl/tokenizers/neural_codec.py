"""Neural codec of `transformers` (Mimi, EnCodec, DAC, ...) as speech tokenizer and vocoder in one.

A codec gives every frame one code of each of its residual codebooks, and decodes such frames to a waveform. Where the
first codebook is semantic, as Mimi's is (Kyutai, arXiv 2410.00037, section 3.3), it can be a stream of its own.

Shapes: B batch, S samples, T frames, K codebooks.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils.logging import get_verbosity, set_verbosity, set_verbosity_error

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.registry import check_trusted, load_path, path_of
from spiritlm_pl.runtime.checkpoint import is_own_class
from spiritlm_pl.runtime.devices import check_device
from spiritlm_pl.runtime.foreign_models import UNREADABLE
from spiritlm_pl.streams import SpeechLayout, Stream

CODEC, SEMANTIC, ACOUSTIC = "codec", "semantic", "acoustic"
CHUNK_SECONDS = 100.0  # longer audio is cut into chunks of this length, as for other tokenizers
PROBE_FRAMES, MOST_PROBED = 32, 512
WHOLE_SPEECH = 1 << 30  # frames of a lookahead that no speech reaches: its waveform is made once all of it is there
SAME = 1e-5  # change, relative to the largest sample, below which a waveform counts as unchanged


@dataclass(frozen=True, kw_only=True)
class NeuralCodecConfig:
    """Choice of a codec, and the layout of its codes.

    Args:
        codec: configuration of the codec as a dictionary, as `transformers` writes it.
        class_path: dotted path of the codec's class; empty for the class that `transformers` has for it.
        num_codebooks: number of residual codebooks that are kept, from the first on.
        semantic: whether the first codebook is a stream of its own, beside the acoustic ones.
        lookahead: number of later frames on which a frame's waveform depends; it is measured when the tokenizer is
            made.
        batched: whether waveforms of equal length are encoded together; it is tried when the tokenizer is made whether
            that gives the same codes.

    Raises:
        ValueError: if a number is out of its range.
    """

    codec: Mapping[str, Any] = field(default_factory=dict)
    class_path: str = ""
    num_codebooks: int = 8
    semantic: bool = False
    lookahead: int = 0
    batched: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.semantic and self.num_codebooks < 2:
            raise ValueError(f"num_codebooks must be at least 2 with semantic, but is {self.num_codebooks} instead")
        for name, lowest in (("num_codebooks", 1), ("lookahead", 0)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, but is {getattr(self, name)} instead")

    def build(self) -> PreTrainedModel:
        """Build the codec with random weights.

        Raises:
            ValueError: if the class may not be loaded, is not a model of `transformers`, or cannot have these values.
        """
        if self.class_path and not self.class_path.startswith("transformers."):
            check_trusted(self.class_path, "the configuration of a neural codec")
        found: Any = codec_class(self.class_path) if self.class_path else None
        values = dict(self.codec)
        try:
            if found is None:
                config = AutoConfig.for_model(values.pop("model_type"), **values)
                return cast(PreTrainedModel, AutoModel.from_config(config))
            return cast(PreTrainedModel, found(found.config_class.from_dict(values)))
        except UNREADABLE as error:
            told = " ".join(str(error).split())[:300]
            raise ValueError(f"codec must be a configuration of transformers, but is not: {told}") from error


def codec_class(class_path: str) -> type[PreTrainedModel]:
    """Return the class of a codec by its path, which must be trusted where it is not of `transformers`.

    Raises:
        ValueError: if there is no such class, or it is not a model of `transformers`.
    """
    found = load_path(class_path, "class_path of a neural codec")
    if not (isinstance(found, type) and issubclass(found, PreTrainedModel)):
        raise ValueError(f"class_path of a neural codec must be a PreTrainedModel, but is {class_path} instead")
    return found


def _check_codes_alone(codec: PreTrainedModel, name: str) -> None:
    """Refuse a codec that gives scales beside its codes, or overlapping chunks; the name is for the message."""
    for setting in ("normalize", "chunk_length_s"):
        if value := getattr(codec.config, setting, None):
            raise ValueError(f"{setting} of codec {name} must be unset, but is {value} instead")


class NeuralCodec(nn.Module):
    """Speech tokenizer and vocoder: waveforms to frames of codes, and back.

    Args:
        config: choice of the codec, and the layout of its codes.
        codec: the codec; None builds it from the configuration with random weights.

    Raises:
        ValueError: if the codec has no encode, decode, sample rate, frame rate or codebook size, has fewer codebooks
            than are asked for, or gives more than codes.
    """

    config_class = NeuralCodecConfig

    def __init__(self, config: NeuralCodecConfig, codec: PreTrainedModel | None = None) -> None:
        """Store or build the codec, and check it."""
        super().__init__()
        self.config = config
        self.codec: Any = config.build() if codec is None else codec
        for name in ("encode", "decode"):
            if not callable(getattr(self.codec, name, None)):
                raise ValueError(f"a neural codec must have {name}, but {type(self.codec).__name__} does not")
        _check_codes_alone(self.codec, type(self.codec).__name__)
        _ = self.sample_rate, self.hop_length, self.cardinality

    @classmethod
    def load_pretrained(
        cls, source: str, num_codebooks: int = 8, semantic: bool = False, class_path: str = "", device: str = "cpu"
    ) -> "NeuralCodec":
        """Make a tokenizer from a pretrained codec of `transformers`.

        Args:
            source: folder of the codec, or its name on the Hugging Face hub.
            num_codebooks: number of residual codebooks that are kept, as in `NeuralCodecConfig`.
            semantic: whether the first codebook is a stream of its own, as in `NeuralCodecConfig`.
            class_path: dotted path of the codec's class; empty for the class that `transformers` has for it.
            device: device on which the codec is placed.

        Raises:
            ValueError: if there is no such codec, or it cannot be used as asked.
        """
        asked = NeuralCodecConfig(num_codebooks=num_codebooks, semantic=semantic)  # checked before anything is fetched
        place = check_device(device)
        codec = _pretrained(source, class_path)
        if getattr(codec.config, "audio_channels", 1) != 1:
            raise ValueError(f"codec must be of one channel, but {source} has {codec.config.audio_channels} instead")
        _check_codes_alone(codec, source)
        codec = codec.to(place).eval()
        values = codec.config.to_dict()
        for name in ("_name_or_path", "transformers_version"):  # codes do not depend on them
            values.pop(name, None)
        config = replace(asked, codec=values, class_path=path_of(type(codec)) if class_path else "")
        found = cls(config, codec).eval()
        generator = torch.Generator().manual_seed(0)
        noise = 0.1 * torch.randn(2, found.sample_rate, generator=generator).to(codec.device)
        codes = found.encode(noise, torch.tensor([noise.shape[1]] * 2))  # raises where it lacks codebooks
        largest = max(int(part.max()) for one in codes for part in (one.values, *one.codes.values()))
        if largest >= found.cardinality:
            raise ValueError(f"codes of {source} must be below {found.cardinality}, but one is {largest} instead")
        found.config = replace(config, lookahead=found.measured_lookahead(), batched=found._batches_alike(noise))
        return found

    @torch.inference_mode()
    def _batches_alike(self, waveforms: Tensor) -> bool:
        """Whether waveforms (B, S) have the same codes together as one by one."""
        whole = waveforms[:, : waveforms.shape[1] // self.hop_length * self.hop_length]
        alone = torch.cat([self._codes(waveform[None]) for waveform in whole])
        return torch.equal(self._codes(whole), alone)

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waveforms, in Hz."""
        return int(self._number("sampling_rate", "sample_rate"))

    @property
    def hop_length(self) -> int:
        """Number of samples in a frame."""
        return int(self._number("frame_size", "hop_length"))

    @property
    def frame_rate(self) -> float:
        """Frames per second, in Hz; `transformers` has a property of this name that is rounded up for some codecs."""
        return self.sample_rate / self.hop_length

    @property
    def cardinality(self) -> int:
        """Number of different codes in a codebook."""
        return int(self._number("codebook_size"))

    @property
    def num_codebooks(self) -> int:
        """Number of codes in each frame."""
        return self.config.num_codebooks

    @property
    def lookahead(self) -> int:
        """Number of later frames on which a frame's waveform depends."""
        return self.config.lookahead

    @property
    def layout(self) -> SpeechLayout:
        """One stream of all codebooks, or a semantic and an acoustic stream."""
        number = self.num_codebooks
        shared: dict[str, Any] = {"size": self.cardinality, "rate": self.frame_rate, "deduplicated": False}
        if not self.config.semantic:
            return SpeechLayout((Stream(name=CODEC, prefix="Co", num_codebooks=number, **shared),))
        return SpeechLayout(
            (
                Stream(name=SEMANTIC, prefix="Se", **shared),
                Stream(name=ACOUSTIC, prefix="Ac", num_codebooks=number - 1, order=1, **shared),
            )
        )

    def speaker_id(self, speaker: str | int | None) -> int:
        """Return 0 for None, since a codec has no voices.

        Raises:
            ValueError: if a voice is named.
        """
        return _nothing("speaker", speaker)

    def style_id(self, style: str | int | None) -> int:
        """Return 0 for None, since a codec has no styles.

        Raises:
            ValueError: if a style is named.
        """
        return _nothing("style", style)

    @torch.inference_mode()
    def encode(self, waveforms: Tensor, lengths: Tensor) -> list[Units]:
        """Encode waveforms (B, S) with lengths (B,), so that codes do not depend on the batch.

        The last frame is filled up with silence. Only waveforms with the same number of frames are encoded together.
        """
        rows = [
            chunk
            for waveform, length in zip(waveforms, lengths.tolist(), strict=True)
            for chunk in self._whole_frames(waveform[:length])
        ]
        counts = [-(-length // self.hop_length) for length in lengths.tolist()]  # frames of each waveform
        codes = self._codes_of(rows).split(counts)  # B of (T, K)
        return [self._units(found) for found in codes]

    def _whole_frames(self, waveform: Tensor) -> Sequence[Tensor]:
        """Cut a waveform (S,) into chunks of whole frames; none for S = 0."""
        if not len(waveform):
            return ()
        padded = functional.pad(waveform.float(), (0, -len(waveform) % self.hop_length))
        return padded.split(round(CHUNK_SECONDS * self.frame_rate) * self.hop_length)

    def _units(self, codes: Tensor) -> Units:
        """Distribute codes (T, K) over the streams."""
        if not self.config.semantic:
            return Units.of_codebooks(codes if self.num_codebooks > 1 else codes[:, 0])
        acoustic = codes[:, 1:] if self.num_codebooks > 2 else codes[:, 1]
        return Units.of_codebooks(codes[:, 0], {ACOUSTIC: acoustic})

    def _codes_of(self, rows: Sequence[Tensor]) -> Tensor:
        """Encode waveforms of whole frames, and return their codes (all frames, K) on the CPU, in the same order."""
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(len(row), []).append(place)
        found: dict[int, Tensor] = {}
        for samples, alike in places.items():
            # No more audio at once than in the longest chunk, which bounds the memory.
            number = max(1, int(CHUNK_SECONDS * self.sample_rate) // samples) if self.config.batched else 1
            for first in range(0, len(alike), number):
                chosen = alike[first : first + number]
                found |= dict(zip(chosen, self._codes(torch.stack([rows[place] for place in chosen])), strict=True))
        if not rows:
            return torch.zeros(0, self.num_codebooks, dtype=torch.long)
        return torch.cat([found[place] for place in range(len(rows))]).cpu()

    def _codes(self, waveforms: Tensor) -> Tensor:
        """Encode waveforms (B, S) of whole frames to codes (B, T, K)."""
        parameters = inspect.signature(self.codec.encode).parameters
        options: dict[str, Any] = {}
        if "bandwidth" in parameters:
            options["bandwidth"] = self.codec.config.target_bandwidths[-1]  # EnCodec's default is the lowest
        for name in ("num_quantizers", "n_quantizers"):  # later codebooks need not be computed
            if name in parameters:
                options[name] = self.num_codebooks
        try:
            codes: Tensor = self.codec.encode(waveforms[:, None], **options).audio_codes
        except (IndexError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"a codec must encode a waveform, but {type(self.codec).__name__} does not: {error}"
            ) from error
        codes = codes.reshape(len(waveforms), -1, codes.shape[-1])  # (B, K, T), without a dimension of chunks
        expected = waveforms.shape[1] // self.hop_length
        if codes.shape[1] < self.num_codebooks or codes.shape[2] != expected:
            raise ValueError(
                f"a codec must give {expected} frames of at least {self.num_codebooks} codes for {expected} times "
                f"{self.hop_length} samples, but {type(self.codec).__name__} gives {codes.shape[2]} of "
                f"{codes.shape[1]} instead"
            )
        return codes[:, : self.num_codebooks].transpose(1, 2)

    @torch.inference_mode()
    def decode_frames(self, codes: Tensor) -> Tensor:
        """Decode codes (T, K), T above 0, to a waveform (T * hop_length,) on the CPU.

        Raises:
            ValueError: if the codes have another shape.
        """
        if codes.ndim != 2 or codes.shape[1] != self.num_codebooks or not len(codes):
            raise ValueError(
                f"codes must have shape (T, {self.num_codebooks}) with frames, but have {tuple(codes.shape)} instead"
            )
        batch = codes.T[None].to(self.codec.device)  # (1, K, T)
        if "audio_scales" in inspect.signature(self.codec.decode).parameters:
            decoded = self.codec.decode(batch[None], [None])
        else:
            decoded = self.codec.decode(audio_codes=batch)
        waveform = decoded.audio_values.reshape(-1).float().cpu()
        samples = len(codes) * self.hop_length
        return functional.pad(waveform, (0, max(0, samples - len(waveform))))[:samples]

    def measured_lookahead(self) -> int:
        """Measure the lookahead: decode random frames with and without a change of the last, and compare.

        Returns:
            The number of frames; `WHOLE_SPEECH` where even the first of `MOST_PROBED` frames depends on the last.

        Raises:
            ValueError: if the change does not change the waveform.
        """
        frames, first = PROBE_FRAMES, 0
        while not first and frames <= MOST_PROBED:  # the whole waveform changes: more frames are needed
            codes = torch.randint(
                self.cardinality, (frames, self.num_codebooks), generator=torch.Generator().manual_seed(0)
            )
            other = codes.clone()
            other[-1] = (other[-1] + 1) % self.cardinality
            one, two = self.decode_frames(codes), self.decode_frames(other)
            changed = ((one - two).abs() > SAME * one.abs().max()).nonzero()
            if not len(changed):
                break
            first, frames = int(changed[0]) // self.hop_length, 2 * frames
        if not len(changed):
            raise ValueError(
                f"a codec must decode other codes to another waveform, but {type(self.codec).__name__} does not: check "
                "that its weights are trained"
            )
        return len(codes) - 1 - first if first else WHOLE_SPEECH

    def _number(self, *names: str) -> float:
        """Return the first of these numbers that the codec's configuration has."""
        found = next((value for name in names if (value := getattr(self.codec.config, name, None)) is not None), None)
        if found is None:
            raise ValueError(
                f"configuration of a neural codec must have {' or '.join(names)}, "
                f"but that of {type(self.codec).__name__} does not"
            )
        return float(found)


def _pretrained(source: str, class_path: str) -> Any:
    """Load a pretrained codec; arguments and errors are those of `NeuralCodec.load_pretrained`."""
    if is_own_class(source):
        raise ValueError(f"codec must be one of transformers, but {source} is a speech tokenizer of ours already")
    loader: Any = codec_class(class_path) if class_path else AutoModel
    shown = get_verbosity()
    set_verbosity_error()  # weights that do not fit are told in one line below
    try:
        codec, found = loader.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
    except UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not Path(source).exists():
            reason = f"there is no such folder, and {reason}"
        raise ValueError(
            f"codec must be a folder or hub name of transformers, but {source} is not: {reason}"
        ) from error
    finally:
        set_verbosity(shown)
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"codec must have all weights of {type(codec).__name__}, but {source} lacks {len(missing)} of them, such "
            f"as {missing[0]}: is it a codec of another class?"
        )
    return codec


def _nothing(name: str, value: str | int | None) -> int:
    if value not in (None, 0):
        raise ValueError(f"{name} must be left out for a neural codec, which has none, but is {value} instead")
    return 0
