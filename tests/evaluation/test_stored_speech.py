"""Recordings with their tokens: which, in which voice, and which codes a vocoder is given at which unit."""

from typing import Any

import numpy as np
import pytest
import torch

from spiritlm_pl.evaluation.stored_speech import check_vocoders, speak_tokens, stored_speech
from spiritlm_pl.streams import PITCH, STYLE, SpeechLayout

LAYOUT = SpeechLayout.spirit_lm(num_units=501, frame_rate=25.0, num_pitches=64, num_styles=100)


class Listener:
    """A vocoder that keeps what it is given."""

    def __init__(self, expressive: bool) -> None:
        self.expressive = expressive

    def synthesize(self, units: Any, speaker: Any, durations: Any, *codes: Any) -> torch.Tensor:
        self.given = [part.tolist() for part in (units, durations, *codes)]
        return torch.zeros(1)

    def speak_frames(self, units: Any, speaker: Any, pitches: Any, styles: Any) -> torch.Tensor:
        self.given = [part.tolist() for part in (units, pitches, styles)]
        return torch.zeros(1)


def said(kit: Any, **changes: Any) -> Any:
    """The example of the paper: frames 78 42 81 159 316 259, pitches 13 13 13 3, style 81."""
    return kit.tokens(
        kit.Said("x"),
        units=np.array([78, 42, 81, 159, 316, 259], dtype=np.uint16),
        unit_starts=np.arange(6, dtype=np.uint32),
        num_frames=8,
        codes={PITCH: np.array([13, 13, 13, 3], dtype=np.uint16), STYLE: np.array([81], dtype=np.uint16)},
        **changes,
    )


def test_units_have_the_codes_that_the_stream_carries(kit: Any) -> None:
    vocoder = Listener(expressive=True)
    speak_tokens(vocoder, said(kit), LAYOUT, 0)
    units, durations, pitches, styles = vocoder.given
    assert units == [78, 42, 81, 159, 316, 259] and durations == [1, 1, 1, 1, 1, 3]
    assert pitches == [13] * 6 and styles == [81] * 6  # the second pitch comes after the last unit has begun


def test_frames_have_their_own_codes(kit: Any) -> None:
    vocoder = Listener(expressive=True)
    speak_tokens(vocoder, said(kit), LAYOUT, 0, codes="frames")
    assert vocoder.given == [[78, 42, 81, 159, 316, 259, 259, 259], [13] * 6 + [3, 3], [81] * 8]


def test_base_is_given_units_alone(kit: Any) -> None:
    vocoder = Listener(expressive=False)
    for codes in ("stream", "frames"):
        speak_tokens(vocoder, said(kit), LAYOUT, 0, codes)
        assert vocoder.given == [[78, 42, 81, 159, 316, 259], [1, 1, 1, 1, 1, 3]]


def test_utterances_are_spread_over_the_split(kit: Any) -> None:
    mini = kit.mini()
    ids = [one.id for one in kit.said]
    assert [cut.id for cut, _ in stored_speech(mini.units, mini.corpus)] == ids
    some = stored_speech(mini.units, mini.corpus, utterances=2)
    assert [cut.id for cut in some.cuts] == [ids[0], ids[4]] and len(some) == 2
    assert [utterance.id for _, utterance in some] == [ids[0], ids[4]]
    with pytest.raises(ValueError, match="utterances must be at least 1, but is 0"):
        stored_speech(mini.units, mini.corpus, utterances=0)


def test_recordings_without_units_are_counted(kit: Any) -> None:
    rows = [kit.tokens(one) for one in kit.said]
    empty = {"num_frames": 0, "units": rows[0].units[:0], "unit_starts": rows[0].unit_starts[:0]}
    mini = kit.mini(rows=[*rows[:-2], kit.tokens(kit.said[-1], **empty)])
    stored = stored_speech(mini.units, mini.corpus)
    assert len(stored) == len(rows) - 2 and stored.num_without == 2


def test_other_corpora_are_refused(kit: Any) -> None:
    mini = kit.mini(rows=[kit.tokens(kit.Said("elsewhere"))])
    with pytest.raises(ValueError, match="units must be those of the corpus, but .* has none for the 8 utterances"):
        stored_speech(mini.units, mini.corpus)
    with pytest.raises(ValueError, match="corpus must hold utterances in split validation"):
        stored_speech(mini.units, mini.corpus, "validation")


def test_vocoders_must_fit(kit: Any) -> None:
    mini = kit.mini()
    stored = stored_speech(mini.units, mini.corpus)
    check_vocoders({"Base": kit.vocoder(kit.base), "Expressive": kit.vocoder(kit.expressive)}, stored)
    fewer = SpeechLayout.spirit_lm(num_units=12, frame_rate=25.0, num_pitches=4, num_styles=4)
    for vocoder, message in (
        (kit.vocoder(kit.base, num_units=11), "num_units must be at least the data's 12, but is 11"),
        (kit.vocoder(fewer), "num_pitches must be at least the data's 5, but is 4"),
        (kit.vocoder(kit.base, hop_length=320, n_fft=320), "frames a second must be those of units, 25.0, but are 50"),
        (
            kit.vocoder(kit.base, speakers=("ann",)),
            "its voices, ann, must be those of the corpus's speakers, but lack bob",
        ),
    ):
        with pytest.raises(ValueError, match=f"vocoder 'x' does not fit: .*{message}"):
            check_vocoders({"x": vocoder}, stored)
    check_vocoders({"x": kit.vocoder(kit.base, speakers=("ann",))}, stored, speaker="ann")
    base = [kit.tokens(one, kit.base) for one in kit.said]
    units = kit.units(kit.folder / "base_units", base, kit.base)
    with pytest.raises(ValueError, match="vocoder 'x' does not fit: units must have pitch and style codes"):
        check_vocoders({"x": kit.vocoder(kit.expressive)}, stored_speech(units, mini.corpus))
