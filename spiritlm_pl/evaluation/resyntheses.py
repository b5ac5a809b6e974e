"""Resynthesis of recordings by several vocoders from the same tokens with the true durations.

Shapes: S samples at 16 kHz.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor
from torchaudio.functional import resample

from spiritlm_pl.contracts.vocoder import CodebookDecoder
from spiritlm_pl.corpora.audio import load_waveform
from spiritlm_pl.corpora.manifest import speaker_of
from spiritlm_pl.data.corpus_store import UnitUtterance
from spiritlm_pl.evaluation.stored_speech import CodePlaces, StoredSpeech, check_vocoders, speak_tokens, text_of
from spiritlm_pl.f0.frames import SAMPLE_RATE
from spiritlm_pl.vocoder.vocoder import Vocoder

ORIGINAL = "original"


@dataclass(frozen=True, kw_only=True)
class Resynthesis:
    """Original and resyntheses of one utterance.

    Attributes:
        tokens: stored tokens of the utterance.
        text: transcript of the utterance; empty if it has none.
        original: (S,) waveform of the recording.
        made: (S',) resynthesised waveforms by the names of the vocoders.
    """

    tokens: UnitUtterance
    text: str
    original: Tensor
    made: Mapping[str, Tensor]

    def waveforms(self) -> dict[str, Tensor]:
        """Return all waveforms by name, the original first."""
        return {ORIGINAL: self.original, **self.made}


def resyntheses(
    vocoders: Mapping[str, Vocoder | CodebookDecoder],
    stored: StoredSpeech,
    *,
    codes: CodePlaces = "stream",
    speaker: str | int | None = None,
) -> Iterator[Resynthesis]:
    """Resynthesise recordings one by one.

    Args:
        vocoders: vocoders by their names.
        stored: recordings with their tokens.
        codes: "stream" gives each unit the latest pitch and style before it, as generation does; "frames" gives each
            frame its own.
        speaker: voice of all resyntheses; None for that of each utterance.

    Raises:
        ValueError: if there is no vocoder, one has the name of the original, or one does not fit the tokens.
    """
    if not vocoders or ORIGINAL in vocoders:
        raise ValueError(f"vocoders must have names, none of them {ORIGINAL!r}, but are {list(vocoders)} instead")
    check_vocoders(vocoders, stored, speaker)
    return (
        Resynthesis(
            tokens=utterance,
            text=text_of(cut),
            original=load_waveform(cut, SAMPLE_RATE),
            made={
                name: resample(
                    speak_tokens(
                        vocoder, utterance, stored.layout, speaker_of(cut) if speaker is None else speaker, codes
                    ),
                    vocoder.sample_rate,
                    SAMPLE_RATE,
                )
                for name, vocoder in vocoders.items()
            },
        )
        for cut, utterance in stored
    )
