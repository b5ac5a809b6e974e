"""An aligner: `spiritlm align CORPUS --method even`."""

from collections.abc import Sequence

from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned
from spiritlm_pl.corpora.manifest import Word


class EvenAligner:
    """Aligner that gives each word of an utterance the same share of its duration."""

    name = "even"
    needs_audio = True
    english_only = False

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Find times for words in a waveform (S,) at 16 kHz; see `spiritlm_pl.alignment.contract.Aligner`."""
        assert waveform is not None
        share = len(waveform) / 16_000 / len(words)
        return Aligned([Word(text, place * share, (place + 1) * share) for place, text in enumerate(words)])
