"""The first waveform of a streamed answer comes as soon as it is certain, and no gap follows; clocks are simulated."""

from typing import Any

import pytest
import torch

from spiritlm_pl.generation.unit_stream import UnitStream
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.generation.waveform_stream import CHUNK_FRAMES, Chunks
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.duration import durations_from_log
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.vocoder import Vocoder

UNITS = 50
SIZES = {"num_units": UNITS, "embedding_dim": 8, "duration_channels": 8}
VOCABULARY = Vocabulary.spirit_lm(num_text=10, num_units=UNITS)
FRAME = 0.04  # seconds


def made(kind: str) -> Vocoder:
    torch.manual_seed(0)
    vocoder: Vocoder = (
        HiFiGANVocoder(HiFiGANConfig(**SIZES, upsample_initial_channels=32))
        if kind == "hifigan"
        else InverseSTFTVocoder(InverseSTFTConfig(**SIZES, channels=16, hidden_channels=32))
    )
    torch.nn.init.constant_(vocoder.duration_predictor.proj.bias, 1.2)  # two or three frames a unit, as in speech
    return vocoder.eval()


def units(number: int) -> torch.Tensor:
    found = torch.randint(UNITS, (3 * number,), generator=torch.Generator().manual_seed(1))
    return found.unique_consecutive()[:number]


class Clock:
    """Time that passes while units are generated and frames are spoken.

    Args:
        vocoder: speaks.
        unit: seconds of a unit.
        call: seconds of a call of the vocoder.
        frame: seconds of each frame that is spoken.
    """

    def __init__(self, vocoder: Vocoder, unit: float, call: float = 0.0, frame: float = 0.0) -> None:
        self.now, self.unit, self.vocoder = 0.0, unit, vocoder
        speak = vocoder.speak_frames

        def slowly(found: torch.Tensor, *given: Any) -> torch.Tensor:
            start, stop = given[-2:]
            self.now += call + frame * (stop - start)
            return speak(found, *given)

        vocoder.speak_frames = slowly  # type: ignore[method-assign]

    def heard(self, said: torch.Tensor, **options: int) -> list[tuple[float, float]]:
        """When each piece is there, and how long it lasts."""
        stream = UnitStream(self.vocoder, VOCABULARY, Voice(), **options)
        pieces = []
        for place, unit in enumerate(said.tolist()):
            self.now += self.unit
            ended = place == len(said) - 1
            if len(waveform := stream.add([VOCABULARY.token(UNIT, unit)], ended)):
                pieces.append((self.now, len(waveform) / 640 * FRAME))
        return pieces


def silence(pieces: list[tuple[float, float]]) -> float:
    """Seconds in which nothing is heard between the first piece and the end, if each is heard as soon as possible."""
    free, total = pieces[0][0], 0.0
    for there, lasts in pieces:
        total += max(0.0, there - free)
        free = max(free, there) + lasts
    return total


def test_the_first_piece_is_made_once_its_frames_are_certain() -> None:
    for kind in ("hifigan", "inverse_stft"):
        vocoder, said = made(kind), units(40)
        with torch.no_grad():
            durations = durations_from_log(vocoder.predict_log_durations(said[None]))[0]
        needed = vocoder.margin + 4
        # Durations of units depend on the two that follow, but any unit lasts a frame at least.
        certain = [int(durations[: known - 2].sum()) + 1 for known in range(3, 41)]
        first = next(known for known, frames in enumerate(certain, start=3) if frames >= needed)
        there, _ = Clock(vocoder, unit=1.0).heard(said)[0]
        assert there == first < 16


# A core of an AMD EPYC (Zen 4) takes 0.02 s for a unit of a 135 M model. HiFi-GAN of the published size takes 0.0035 s
# for a frame, and its surroundings cost as much as 8 frames more.
@pytest.mark.parametrize("slower", [1, 1.25])
def test_there_is_no_gap(slower: float) -> None:
    clock, said = Clock(made("inverse_stft"), 0.02 * slower, 0.028 * slower, 0.0035 * slower), units(200)
    pieces = clock.heard(said)
    assert len(pieces) > 20 and silence(pieces) == 0
    assert sum(lasts for _, lasts in pieces) > 2 * clock.now  # twice as fast as it is heard
    slow = Clock(made("inverse_stft"), unit=0.2).heard(said)  # slower than it is heard
    assert silence(slow) > 1


def test_waiting_for_whole_chunks_takes_longer() -> None:
    class Even(Chunks):
        def __init__(self, chunk_frames: int, lookahead: int | None) -> None:
            super().__init__(chunk_frames, lookahead)
            self.fewest = chunk_frames

    said = units(60)
    soon = Clock(made("inverse_stft"), 0.02).heard(said)[0][0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spiritlm_pl.generation.unit_stream.Chunks", Even)
        late = Clock(made("inverse_stft"), 0.02).heard(said)[0][0]
    assert soon < 0.9 * late


def test_pieces_grow() -> None:
    chunks, sizes = Chunks(CHUNK_FRAMES, None), []
    for _ in range(9):
        sizes.append(chunks.fewest)
        chunks.made()
    assert sizes == [4, 5, 6, 7, 8, 9, 10, 10, 10]
    assert Chunks(1, 0).fewest == 1


@pytest.mark.parametrize("kind", ["hifigan", "inverse_stft"])
def test_a_part_is_that_of_the_whole(kind: str) -> None:
    vocoder = made(kind)
    frames = units(3 * vocoder.margin)
    whole = vocoder.speak_frames(frames)
    assert float(whole.std()) > 0
    for start, stop in ((0, 2), (0, len(frames)), (3, 4), (30, 40), (len(frames) - 1, len(frames)), (7, 7)):
        part = vocoder.speak_frames(frames, start=start, stop=stop)
        torch.testing.assert_close(part, whole[640 * start : 640 * stop], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"start and stop must be in order in \[0, 60\], but are 3 and 2"):
        vocoder.speak_frames([1] * 60, start=3, stop=2)


def test_a_part_costs_less_than_the_whole() -> None:
    vocoder, steps = made("hifigan"), list[int]()
    last = vocoder.generator.get_submodule("conv_post")
    last.register_forward_hook(lambda module, args, output: steps.append(args[0].shape[2]))
    frames = units(60)
    vocoder.speak_frames(frames, start=20, stop=22)
    vocoder.speak_frames(frames)
    assert steps[0] < 4 * 640 and steps[1] == 60 * 640


def test_a_generator_without_parts_makes_the_whole() -> None:
    vocoder, frames = made("inverse_stft"), units(60)
    part = vocoder.speak_frames(frames, start=10, stop=12)

    class Plain(torch.nn.Module):
        def __init__(self, network: torch.nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, conditioning: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(conditioning)
            return found

    vocoder.generator = Plain(vocoder.generator)
    torch.testing.assert_close(vocoder.speak_frames(frames, start=10, stop=12), part, atol=1e-6, rtol=0)
