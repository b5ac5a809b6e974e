"""Frames of several codebooks as tokens: there and back, and a model kept to their order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.data.merge import speech_stream
from spiritlm_pl.generation.codebooks import CodebooksInTurn, codebook_frames, codebooks_of
from spiritlm_pl.generation.stream import decode_tokens
from spiritlm_pl.generation.synthesis import check_synthesis
from spiritlm_pl.streams import SpeechLayout, Stream, delayed
from spiritlm_pl.vocabulary import Vocabulary

SIZE, RATE = 8, 12.5


def layout(codebooks: int, semantic: bool) -> SpeechLayout:
    shared = {"size": SIZE, "rate": RATE, "deduplicated": False}
    if not semantic:
        return SpeechLayout((Stream(name="codec", prefix="Co", num_codebooks=codebooks, **shared),))
    first = Stream(name="semantic", prefix="Se", **shared)
    return SpeechLayout((first, Stream(name="acoustic", prefix="Ac", num_codebooks=codebooks - 1, order=1, **shared)))


def vocabulary(codebooks: int, semantic: bool, delay: int) -> Vocabulary:
    return Vocabulary(num_text=5, streams=delayed(layout(codebooks, semantic).streams, delay), multiple_of=1)


def tokens_of(frames: np.ndarray, words: Vocabulary, semantic: bool) -> list[int]:
    units, codes = (frames[:, 0], {"acoustic": frames[:, 1:]}) if semantic else (frames, {})
    found = speech_stream(units, np.arange(len(frames)), codes, layout(frames.shape[1], semantic), words)
    return found.ids(words).tolist()


@given(st.integers(0, 12), st.integers(2, 4), st.booleans(), st.integers(0, 3), st.integers(0, 2**16))
def test_frames_come_back_from_their_tokens(frames: int, codebooks: int, semantic: bool, delay: int, seed: int) -> None:
    words = vocabulary(codebooks, semantic, delay)
    codes = np.random.default_rng(seed).integers(0, SIZE, (frames, codebooks))
    tokens = tokens_of(codes, words, semantic)
    assert len(tokens) == codes.size and sorted(tokens) == sorted(
        words.speech_bounds[0] + SIZE * book + code for row in codes.tolist() for book, code in enumerate(row)
    )
    assert codebook_frames(tokens, words).tolist() == codes.tolist()


def test_tokens_stand_in_the_published_orders() -> None:
    codes = np.array([[0, 1, 2], [3, 4, 5]])
    for delay, expected in (
        (0, "[Co0_0][Co1_1][Co2_2][Co0_3][Co1_4][Co2_5]"),
        (1, "[Co0_0][Co0_3][Co1_1][Co1_4][Co2_2][Co2_5]"),  # steps: 0; 3 1; 4 2; 5
    ):
        words = vocabulary(3, False, delay)
        found = "".join(str(words.name(token)) for token in tokens_of(codes, words, False))
        assert found == expected


def test_a_stretch_cut_out_of_delayed_speech_gives_its_whole_frames() -> None:
    words = vocabulary(3, True, 1)
    codes = np.arange(24).reshape(8, 3) % SIZE
    tokens = tokens_of(codes, words, True)
    steps = [0]
    for place in range(1, len(tokens)):
        if words.counts_frames(tokens[place]):
            steps.append(place)
    cut = tokens[steps[3] : steps[7]]  # steps 3 to 6: frames 3 and 4 are whole
    assert codebook_frames(cut, words).tolist() == codes[3:5].tolist()
    with pytest.raises(ValueError, match="tokens must be of speech .semantic, acoustic., but 2 is not"):
        codebook_frames([2], words)


@pytest.mark.parametrize(("semantic", "delay"), [(False, 0), (True, 0), (False, 1), (True, 2)])
def test_every_sequence_of_a_tokenizer_is_allowed_and_no_other_order(semantic: bool, delay: int) -> None:
    words = vocabulary(3, semantic, delay)
    in_turn = CodebooksInTurn(words, words.num_rows)
    spoken = tokens_of(np.random.default_rng(0).integers(0, SIZE, (6, 3)), words, semantic)
    sequence = [words.text_marker, 3, words.speech_marker, *spoken, words.text_marker, 4]
    for place in range(1, len(sequence)):
        scores = in_turn(torch.tensor([sequence[:place], sequence[:place]]), torch.zeros(2, words.num_rows))
        assert torch.equal(scores[0], scores[1]) and scores[0, sequence[place]] == 0
    books = codebooks_of(words)
    whole = [book.first for book in sorted(books, key=lambda book: book.turn)]
    for taken in range(4):  # after a first step of so many codebooks
        scores = in_turn(torch.tensor([[words.speech_marker, *whole[:taken]]]), torch.zeros(1, words.num_rows))[0]
        between = taken in (0, 3) or (delay > 0 and taken == 1)  # where delayed codebooks join in later
        assert (scores[words.text_marker] == 0) == between and (scores[2] == 0) == between
        for book in books:
            allowed = taken and book.turn == taken or (between and book.turn == 0)
            assert bool((scores[book.first : book.first + SIZE] == 0).all()) == bool(allowed)
            assert bool((scores[book.first : book.first + SIZE] == -torch.inf).all()) != bool(allowed)


def test_a_random_model_speaks_whole_frames() -> None:
    words = vocabulary(4, True, 1)
    in_turn = CodebooksInTurn(words, words.num_rows)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.tensor([[words.speech_marker]])
    speech = torch.full((words.num_rows,), -torch.inf)
    speech[slice(*words.speech_bounds)] = 0
    for _ in range(200):
        scores = in_turn(tokens, speech[None] + torch.randn(1, words.num_rows, generator=generator))
        tokens = torch.cat([tokens, scores.argmax(-1, keepdim=True)], 1)
    frames = codebook_frames(tokens[0, 1:].tolist(), words)
    assert len(frames) >= 200 // 4 - 3 and 0 <= int(frames.min()) <= int(frames.max()) < SIZE


@pytest.mark.parametrize("delay", [0, 1])
def test_a_modality_token_ends_a_stretch_of_frames(delay: int) -> None:
    words = vocabulary(2, False, delay)
    one, two = (tokens_of(np.array(codes), words, False) for codes in ([[1, 2], [3, 4]], [[5, 6]]))
    found = decode_tokens([*one[:-1], words.speech_marker, *two], words)
    assert [codebook_frames(segment.tokens, words).tolist() for segment in found] == [[[1, 2]], [[5, 6]]]


def test_a_code_that_is_missing_spoils_no_other_frame() -> None:
    words = vocabulary(3, False, 0)
    tokens = tokens_of(np.arange(12).reshape(4, 3) % SIZE, words, False)
    assert codebook_frames([*tokens[:4], *tokens[5:]], words).tolist() == [[0, 1, 2], [6, 7, 0], [1, 2, 3]]


def test_a_decoder_of_other_sizes_or_rates_is_refused() -> None:
    words = vocabulary(2, False, 1)

    class Decoder:
        sample_rate, hop_length, num_codebooks, lookahead = 16_000, 1280, 2, 0

        def __init__(self, streams: tuple[Stream, ...]) -> None:
            self.layout = SpeechLayout(streams)

        def speaker_id(self, speaker: object) -> int: ...

        def style_id(self, style: object) -> int: ...

        def decode_frames(self, codes: torch.Tensor) -> torch.Tensor: ...

    check_synthesis(Decoder(layout(2, False).streams), words, "here")  # delays are the model's own affair
    for changed in ({"size": 4}, {"rate": 50.0}, {"num_codebooks": 3}, {"name": "other"}):
        other = Stream(**{**vars(layout(2, False).first), **changed})
        with pytest.raises(ValueError, match="vocoder must speak the language model's streams .* but here speaks"):
            check_synthesis(Decoder((other,)), words, "here")
    with pytest.raises(ValueError, match="but here speaks"):
        check_synthesis(Decoder(layout(2, False).streams), Vocabulary.spirit_lm(9), "here")
