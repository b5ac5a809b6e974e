"""Word and phone times with PocketSphinx, whose wheel carries an English acoustic model: works offline.

Two passes: the words first, with the pronunciation and pauses that fit best, then the phones in them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pocketsphinx
from torch import Tensor

from spiritlm_pl.alignment.contract import Aligned, check_words
from spiritlm_pl.alignment.pronunciation import guess_pronunciation
from spiritlm_pl.corpora.audio import to_int16
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.word_times import AlignmentError

_FRAME_RATE = 100
_VARIANT = re.compile(r"\(\d+\)$")
_WIDE = {"beam": 1e-100, "pbeam": 1e-100, "wbeam": 1e-80}


@lru_cache(maxsize=2)
def _decoder(wide: bool) -> pocketsphinx.Decoder:
    """The decoder of this process; the wide one searches longer."""
    beams = _WIDE if wide else {}
    # cmn="batch": what one utterance gives must not depend on those before it
    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", samprate=16_000, cmn="batch", **beams)


def _is_word(name: str) -> bool:
    return not name.startswith(("<", "[", "+")) and name != "(NULL)"


@dataclass(frozen=True)
class PocketsphinxAligner:
    """Forced alignment of English.

    Args:
        phones: find phones too (a second pass).
    """

    phones: bool = True
    name: str = "pocketsphinx"
    needs_audio: bool = True
    english_only: bool = True

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Times for the words; see `Aligner.align`."""
        assert waveform is not None
        data = to_int16(waveform).numpy().tobytes()
        try:
            return self._align(_decoder(wide=False), data, words)
        except AlignmentError:
            return self._align(_decoder(wide=True), data, words)

    def _align(self, decoder: pocketsphinx.Decoder, data: bytes, words: Sequence[str]) -> Aligned:
        for word in dict.fromkeys(words):
            if decoder.lookup_word(word) is None:
                phones = guess_pronunciation(word)
                if not phones:
                    raise AlignmentError(f"no pronunciation for {word!r}")
                decoder.add_word(word, phones, update=True)
        try:
            decoder.set_align_text(" ".join(words))
            _run(decoder, data)
            segments = list(decoder.seg() or ())
            timed = [
                Word(_VARIANT.sub("", s.word), s.start_frame / _FRAME_RATE, (s.end_frame + 1) / _FRAME_RATE)
                for s in segments
                if _is_word(s.word)
            ]
            check_words(timed, words)
            return Aligned(timed, self._find_phones(decoder, data) if self.phones else [])
        except RuntimeError as error:
            raise AlignmentError(f"the words do not fit the audio ({error})") from error

    def _find_phones(self, decoder: pocketsphinx.Decoder, data: bytes) -> list[Word]:
        """Phones of the words just found; none where the second pass gets lost (the words stand)."""
        try:
            decoder.set_alignment()
            _run(decoder, data)
        except RuntimeError:
            return []
        return [
            Word(phone.name, phone.start / _FRAME_RATE, (phone.start + phone.duration) / _FRAME_RATE)
            for word in decoder.get_alignment()
            if _is_word(word.name)
            for phone in word
        ]


def _run(decoder: pocketsphinx.Decoder, data: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()
