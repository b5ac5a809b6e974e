"""Word and phone times by PocketSphinx, whose package includes an English acoustic model and so works offline.

It makes two passes: the first finds the words, with the pronunciations and pauses that fit best, the second the phones
within them.
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
    """Return the decoder of this process; the wide one prunes less and so searches longer."""
    beams = _WIDE if wide else {}
    # cmn="batch": the result of an utterance must not depend on the utterances before it
    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", samprate=16_000, cmn="batch", **beams)


def _is_word(name: str) -> bool:
    return not name.startswith(("<", "[", "+")) and name != "(NULL)"


@dataclass(frozen=True)
class PocketsphinxAligner:
    """Forced alignment of English with PocketSphinx.

    Args:
        phones: whether to find phones as well, in a second pass.
        name: name of the aligner in reports.
        needs_audio: whether `align` must be given a waveform.
        english_only: whether the aligner handles English only.
    """

    phones: bool = True
    name: str = "pocketsphinx"
    needs_audio: bool = True
    english_only: bool = True

    def align(self, cut_id: str, waveform: Tensor | None, words: Sequence[str], language: str = "en") -> Aligned:
        """Find the times of the words in a waveform (S,) at 16 kHz; see `Aligner.align`."""
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
        """Find the phones of the words just aligned; empty if the second pass fails, which leaves the words valid."""
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
    decoder.reinit_feat()  # it keeps something of the utterance before, which may shift words by a frame
    decoder.start_utt()
    decoder.process_raw(data, full_utt=True)
    decoder.end_utt()
