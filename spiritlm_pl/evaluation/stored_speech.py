"""Held-out recordings with their stored tokens, and resynthesis of the tokens with the true durations.

Shapes: S samples, R runs of equal units, T frames.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lhotse import MonoCut
from torch import Tensor, nn

from spiritlm_pl.contracts.vocoder import CodebookDecoder
from spiritlm_pl.corpora.manifest import load_cuts, speaker_of
from spiritlm_pl.corpora.splitting import spread_evenly
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.data.frames import at_frames, unit_frames
from spiritlm_pl.data.merge import SpeechTokens, speech_stream, units_with_expression
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.unit_index import UnitIndex
from spiritlm_pl.generation.loading import load_speaking_part
from spiritlm_pl.runtime.devices import check_device
from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.runtime.older_names import look_up_older_names
from spiritlm_pl.streams import PITCH, STYLE, UNIT, SpeechLayout, differences, spirit_lm_streams
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.vocoder import Vocoder

CodePlaces = Literal["stream", "frames"]


@dataclass(frozen=True, kw_only=True)
class StoredSpeech:
    """Recordings of one split that have tokens.

    Attributes:
        cuts: recordings that have tokens.
        tokens: stored tokens by the ids of the cuts.
        layout: streams of the tokenizer that made the tokens.
        num_without: number of recordings without tokens.
    """

    cuts: list[MonoCut]
    tokens: Mapping[str, UnitUtterance]
    layout: SpeechLayout
    num_without: int

    def __iter__(self) -> Iterator[tuple[MonoCut, UnitUtterance]]:
        """Iterate over the recordings with their tokens."""
        return ((cut, self.tokens[cut.id]) for cut in self.cuts)

    def __len__(self) -> int:
        """Return the number of recordings that have tokens."""
        return len(self.cuts)


def stored_speech(
    units: str | Path, corpus: str | Path, split: str = "test", utterances: int | None = None
) -> StoredSpeech:
    """Find recordings with their tokens.

    Args:
        units: folder of a tokenised corpus.
        corpus: corpus folder with the recordings.
        split: split to read: train, validation or test.
        utterances: largest number of utterances, spread evenly over the split; None for all.

    Raises:
        ValueError: if the corpus has no utterances in this split, or none of them has units.
    """
    if utterances is not None and utterances < 1:
        raise ValueError(f"utterances must be at least 1, but is {utterances} instead")
    cuts = list(load_cuts(corpus, split))
    if not cuts:
        raise ValueError(f"corpus must hold utterances in split {split}, but {corpus} has none instead")
    stored = UnitCorpus(units, split)
    tokens = UnitIndex(stored)
    chosen = [cut for cut in cuts if cut.id in tokens and tokens[cut.id].num_frames]
    if not chosen:
        raise ValueError(
            f"units must be those of the corpus, but {units} has none for the {len(cuts)} utterances "
            f"of split {split} of {corpus}"
        )
    without = len(cuts) - len(chosen)
    if utterances is not None:
        chosen = spread_evenly(chosen, utterances)
    return StoredSpeech(cuts=chosen, tokens=tokens, layout=stored.layout, num_without=without)


def text_of(cut: MonoCut) -> str:
    """Return the transcript of an utterance; empty if it has none."""
    return cut.supervisions[0].text or ""


def style_of(utterance: UnitUtterance) -> str:
    """Return the style of an utterance; empty if it has none."""
    return str(utterance.custom.get("style") or "")


def load_evaluated_vocoder(folder: str | Path, device: str = "cpu") -> Vocoder | CodebookDecoder:
    """Load an exported vocoder, or a neural codec.

    Raises:
        ValueError: if the folder holds neither, or this machine does not have the device.
    """
    network = load_speaking_part(folder, check_device(device))
    if not isinstance(network, Vocoder | CodebookDecoder) or not isinstance(network, nn.Module):
        raise ValueError(
            "vocoder must be one of this package or decode the frames of a codec, to be measured, "
            f"but {folder} holds a {type(network).__name__} instead"
        )
    prepare(network, device)
    return network


def check_vocoders(
    vocoders: Mapping[str, Vocoder | CodebookDecoder], stored: StoredSpeech, speaker: str | int | None = None
) -> None:
    """Check that vocoders can speak the tokens in the requested voices.

    Args:
        vocoders: vocoders by their names.
        stored: recordings whose tokens are to be spoken.
        speaker: voice of all resyntheses; None for that of each utterance.

    Raises:
        ValueError: if a vocoder has too few codes, another rate, or lacks a voice.
    """
    needed = {speaker_of(cut) for cut in stored.cuts}
    for name, vocoder in vocoders.items():
        try:
            if isinstance(vocoder, CodebookDecoder):
                if vocoder.layout != stored.layout:
                    own, found = differences(vocoder.layout.to_dict(), stored.layout.to_dict())
                    raise ValueError(f"units must be of {own}, but are of {found} instead")
                continue
            vocoder.config.check_data(None, None, stored.layout)
            rate = vocoder.sample_rate / vocoder.hop_length
            if abs(rate - stored.layout.frame_rate) > 1e-6:
                raise ValueError(f"frames a second must be those of units, {stored.layout.frame_rate}, but are {rate}")
            unknown = sorted(needed - {*vocoder.config.speakers})
            if speaker is not None:
                vocoder.speaker_id(speaker)
            elif unknown:
                known = ", ".join(vocoder.config.speakers)
                raise ValueError(f"its voices, {known}, must be those of the corpus's speakers, but lack {unknown[0]}")
        except ValueError as error:
            raise ValueError(f"vocoder {name!r} does not fit: {error}") from None


def token_stream(utterance: UnitUtterance, layout: SpeechLayout, expressive: bool) -> SpeechTokens:
    """Return the tokens of an utterance as a language model sees them, of Expressive or of Base."""
    base = layout.phonetic and not expressive
    vocabulary = Vocabulary(num_text=1, streams=spirit_lm_streams(layout.size(UNIT)) if base else layout.streams)
    return speech_stream(utterance.units, utterance.unit_starts, utterance.codes, layout, vocabulary)


def speak_tokens(
    vocoder: Vocoder | CodebookDecoder,
    utterance: UnitUtterance,
    layout: SpeechLayout,
    speaker: str | int,
    codes: CodePlaces = "stream",
) -> Tensor:
    """Resynthesise an utterance with its true durations.

    Args:
        vocoder: vocoder that makes the waveform; a Base one ignores pitch and style.
        utterance: stored tokens of the utterance.
        layout: streams of the tokenizer that made the tokens.
        speaker: voice of the speech, by name or id.
        codes: "stream" gives each unit the latest pitch and style before it, as generation does; "frames" gives each
            frame its own, which is more than a language model can carry.

    Returns:
        Waveform (S,) on the CPU.
    """
    if isinstance(vocoder, CodebookDecoder):
        streams = [utterance.units, *(utterance.codes[stream.name] for stream in layout.streams[1:])]
        columns = [codes.reshape(utterance.num_frames, -1).astype(np.int64) for codes in streams]
        return vocoder.decode_frames(torch.from_numpy(np.concatenate(columns, axis=1)))
    if vocoder.expressive and codes == "frames":
        pitches, styles = (
            torch.from_numpy(
                at_frames(utterance.codes[name], layout.rate(name), layout.frame_rate, utterance.num_frames).astype(
                    np.int64
                )
            )
            for name in (PITCH, STYLE)
        )
        frames = torch.from_numpy(unit_frames(utterance).astype(np.int64))
        return vocoder.speak_frames(frames, speaker, pitches, styles)
    stream = token_stream(utterance, layout, vocoder.expressive)
    units, *latest = (
        torch.from_numpy(part) for part in units_with_expression(layout.names, stream.streams, stream.values)
    )
    durations = np.diff(utterance.unit_starts.astype(np.int64), append=utterance.num_frames)
    return vocoder.synthesize(units, speaker, torch.from_numpy(durations), *(latest if vocoder.expressive else ()))


look_up_older_names(__name__)
