"""Frames of several codebooks as tokens: there and back, stretch by stretch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.data.merge import speech_stream
from spiritlm_pl.data.steps import in_steps, open_length
from spiritlm_pl.generation.codebooks import (
    FrameReader,
    codebook_frames,
    codebooks_of,
    joined_speech,
    open_stretch,
    stretch_tokens,
)
from spiritlm_pl.generation.stream import Segment, decode_tokens, encode_segments
from spiritlm_pl.generation.synthesis import CodebookSynthesis, check_synthesis
from spiritlm_pl.generation.turns import CodebooksInTurn
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.streams import SpeechLayout, Stream, delayed
from spiritlm_pl.vocabulary import Modality, Vocabulary

SIZE, RATE = 8, 12.5
sizes = {"frames": st.integers(0, 12), "codebooks": st.integers(2, 4), "semantic": st.booleans()}


def layout(codebooks: int, semantic: bool) -> SpeechLayout:
    shared = {"size": SIZE, "rate": RATE, "deduplicated": False}
    if not semantic:
        return SpeechLayout((Stream(name="codec", prefix="Co", num_codebooks=codebooks, **shared),))
    first = Stream(name="semantic", prefix="Se", **shared)
    return SpeechLayout((first, Stream(name="acoustic", prefix="Ac", num_codebooks=codebooks - 1, order=1, **shared)))


def vocabulary(codebooks: int, semantic: bool, delay: int, end: int | None = None) -> Vocabulary:
    streams = delayed(layout(codebooks, semantic).streams, delay)
    return Vocabulary(num_text=5, streams=streams, multiple_of=1, end_of_document=end)


def random_frames(frames: int, codebooks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SIZE, (frames, codebooks))


def tokens_of(frames: np.ndarray, words: Vocabulary, semantic: bool) -> list[int]:
    units, codes = (frames[:, 0], {"acoustic": frames[:, 1:]}) if semantic else (frames, {})
    found = speech_stream(units, np.arange(len(frames)), codes, layout(frames.shape[1], semantic), words)
    return in_steps(found.ids(words), words).tolist()


@given(**sizes, delay=st.integers(0, 3), seed=st.integers(0, 2**16), data=st.data())
def test_frames_come_back_from_their_tokens(frames, codebooks, semantic, delay, seed, data) -> None:
    words = vocabulary(codebooks, semantic, delay)
    codes = random_frames(frames, codebooks, seed)
    tokens = tokens_of(codes, words, semantic)
    assert len(tokens) == codes.size and sorted(tokens) == sorted(
        words.speech_bounds[0] + SIZE * book + code for row in codes.tolist() for book, code in enumerate(row)
    )
    assert codebook_frames(tokens, words).tolist() == codes.tolist()
    assert stretch_tokens(torch.from_numpy(codes), words) == tuple(tokens)
    # Cut anywhere, it gives the frames whose codes are all there, and none that is wrong.
    cut = codebook_frames(tokens[: data.draw(st.integers(0, len(tokens)))], words).tolist()
    assert cut == codes.tolist()[: len(cut)]
    # The part that may go on is the beginning of the longer stretch, and is read on from there.
    more = np.concatenate([codes, random_frames(3, codebooks, seed + 1)])
    longer, begun = tokens_of(more, words, semantic), open_stretch(tokens, words)
    assert tuple(longer[: len(begun)]) == begun and len(begun) == open_length(frames, words)
    assert codebook_frames(longer[len(begun) :], words, begun).tolist() == more[frames:].tolist()


def test_tokens_stand_in_the_published_orders() -> None:
    codes = np.array([[0, 1, 2], [3, 4, 5]])
    for delay, expected in (
        (0, "[Co0_0][Co1_1][Co2_2][Co0_3][Co1_4][Co2_5]"),
        (1, "[Co0_0][Co0_3][Co1_1][Co1_4][Co2_2][Co2_5]"),  # steps: 0; 3 1; 4 2; 5
    ):
        words = vocabulary(3, False, delay)
        found = "".join(str(words.name(token)) for token in tokens_of(codes, words, False))
        assert found == expected
    with pytest.raises(ValueError, match="tokens must be of speech .codec., but 2 is not"):
        codebook_frames([2], words)


def test_stretches_are_put_in_steps_each_for_itself() -> None:
    words = vocabulary(3, False, 1)
    plain = np.array([words.token("codec", frame, book) for frame in range(4) for book in range(3)])
    for number in (1, 2, 4):
        steps = in_steps(plain[: 3 * number], words).tolist()
        expected = {1: "00 10 20", 2: "00 01 10 11 20 21", 4: "00 01 10 02 11 20 03 12 21 13 22 23"}  # codebook, frame
        codes = [divmod(token - words.speech_bounds[0], SIZE) for token in steps]
        assert " ".join(f"{book}{frame}" for book, frame in codes) == expected[number]
    one = in_steps(plain[:6], words).tolist()
    other = in_steps(plain[6:], words).tolist()
    mixed = np.array([words.speech_marker, *plain[:6], words.text_marker, 3, words.speech_marker, *plain[6:], 1])
    apart = [words.speech_marker, *one, words.text_marker, 3, words.speech_marker, *other, 1]
    assert in_steps(mixed, words).tolist() == apart
    assert in_steps(plain, words, [0, 6]).tolist() == [*one, *other]
    assert in_steps(plain, vocabulary(3, False, 0)) is plain


@pytest.mark.parametrize(("semantic", "delay"), [(False, 0), (True, 0), (False, 1), (True, 2)])
@pytest.mark.parametrize("frames", [1, 2, 6])
def test_every_sequence_of_a_tokenizer_is_allowed_and_no_other_order(semantic: bool, delay: int, frames: int) -> None:
    words = vocabulary(3, semantic, delay)
    in_turn = CodebooksInTurn(words, words.num_rows)
    spoken = tokens_of(random_frames(frames, 3), words, semantic)
    sequence = [words.text_marker, 3, words.speech_marker, *spoken, words.text_marker, 4]
    for place in range(1, len(sequence)):
        scores = in_turn(torch.tensor([sequence[:place], sequence[:place]]), torch.zeros(2, words.num_rows))
        assert torch.equal(scores[0], scores[1]) and scores[0, sequence[place]] == 0
        inside = 3 < place < 3 + len(spoken) and (delay > 0 or (place - 3) % 3)
        assert (scores[0, words.text_marker] == 0) != bool(inside) and (scores[0, 2] == 0) != bool(inside)
    books = codebooks_of(words)
    whole = [book.first for book in sorted(books, key=lambda book: book.turn)]
    for taken in range(4):  # after a first step, or with delays a frame, of so many codebooks
        scores = in_turn(torch.tensor([[words.speech_marker, *whole[:taken]]]), torch.zeros(1, words.num_rows))[0]
        first = taken in (0, 3) and not (delay and taken) or (delay > 0 and taken == 1)  # where others join in later
        for book in books:
            allowed = (taken and book.turn == taken) or (first and book.turn == 0)
            assert bool((scores[book.first : book.first + SIZE] == 0).all()) == bool(allowed)
            assert bool((scores[book.first : book.first + SIZE] == -torch.inf).all()) != bool(allowed)


def test_speech_that_nothing_may_follow_is_not_closed() -> None:
    words = vocabulary(2, False, 1)
    for may_close in (True, False):
        in_turn = CodebooksInTurn(words, words.num_rows, may_close)
        scores = in_turn(torch.tensor([[words.speech_marker, 7]]), torch.zeros(1, words.num_rows))[0]
        assert (scores[7:15] == 0).all() and bool((scores[15:] == 0).all()) == may_close


@pytest.mark.parametrize("may_close", [True, False])
def test_a_random_model_speaks_whole_frames(may_close: bool) -> None:
    words = vocabulary(4, True, 1)
    in_turn = CodebooksInTurn(words, words.num_rows, may_close)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.tensor([[words.speech_marker]])
    for _ in range(200):
        scores = torch.randn(1, words.num_rows, generator=generator)
        if not may_close:
            scores[:, : words.speech_bounds[0]] = -torch.inf
        scores = in_turn(tokens, scores)
        assert scores.max() > -torch.inf
        tokens = torch.cat([tokens, scores.argmax(-1, keepdim=True)], 1)
    said = tokens[0, 1:].tolist()
    found = decode_tokens(said, words)
    frames = [len(codebook_frames(segment.tokens, words)) for segment in found if segment.modality is Modality.SPEECH]
    spoken = sum(words.speech_bounds[0] <= token for token in said)
    assert frames and 0 <= spoken - 4 * sum(frames) <= 4 * 3 + 3  # all but the last, which is cut


def test_known_codes_of_a_prompt_are_given_and_all_else_is_free() -> None:
    words = vocabulary(3, False, 1)
    prompts = [random_frames(number, 3, number) for number in (1, 4)]
    stretches = [tokens_of(frames, words, False) for frames in prompts] + [[]]
    begun = [list(open_stretch(stretch, words)) for stretch in stretches]
    longest = 1 + max(map(len, begun))
    tokens = torch.tensor([[0] * (longest - 1 - len(part)) + [words.speech_marker, *part] for part in begun])
    in_turn = CodebooksInTurn(words, words.num_rows, False, stretches)
    generator = torch.Generator().manual_seed(0)
    for _ in range(18):
        scores = in_turn(tokens, torch.rand(3, words.num_rows, generator=generator) + 1)
        scores[:, : words.speech_bounds[0]] = -torch.inf
        tokens = torch.cat([tokens, scores.argmax(-1, keepdim=True)], 1)
    for row, frames in enumerate(prompts):
        spoken = [token for token in tokens[row].tolist() if token >= words.speech_bounds[0]]
        heard = codebook_frames(spoken, words)
        assert heard[: len(frames)].tolist() == frames.tolist() and len(heard) >= len(frames) + 3
        new = codebook_frames(spoken[len(begun[row]) :], words, begun[row])
        assert new.tolist() == heard[len(frames) :].tolist()


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_a_modality_token_ends_a_stretch_of_frames(delay: int) -> None:
    words = vocabulary(2, False, delay)
    one, two = (tokens_of(np.array(codes), words, False) for codes in ([[1, 2], [3, 4]], [[5, 6]]))
    found = decode_tokens([*one[:-1], words.speech_marker, *two], words)
    assert [codebook_frames(segment.tokens, words).tolist() for segment in found] == [[[1, 2]], [[5, 6]]]
    kept = stretch_tokens(torch.tensor([[1, 2]]), words) if delay else tuple(one[:-1])
    assert found[0].tokens == kept  # with delays, a stretch of its own


@given(**sizes, delay=st.integers(0, 3), place=st.integers(0, 100))
def test_a_code_that_is_missing_spoils_no_later_frame(frames, codebooks, semantic, delay, place) -> None:
    words = vocabulary(codebooks, semantic, delay)
    frames += 3 * delay + 2
    codes = (np.arange(frames)[:, None] + np.arange(codebooks)) % SIZE
    tokens = tokens_of(codes, words, semantic)
    most = (codebooks - 1) * delay
    first, last = (open_length(number, words) for number in (most, frames - most))  # where all codebooks speak
    place = first + place % max(1, last - first)
    found = codebook_frames([*tokens[:place], *tokens[place + 1 :]], words).tolist()
    rows = codes.tolist()
    assert any([*rows[:number], *rows[number + 1 :]] == found for number in range(frames))  # all but one frame


def test_speech_in_another_order_is_refused() -> None:
    words, plain = vocabulary(3, False, 1), vocabulary(3, False, 0)
    codes = random_frames(4, 3)
    tokens = tokens_of(codes, words, False)
    assert joined_speech([tokens[:6], tokens], words) == tuple(
        tokens_of(np.concatenate([codes[: len(codebook_frames(tokens[:6], words))], codes]), words, False)
    )
    assert joined_speech([[7, 8], [9]], plain) == (7, 8, 9)
    with pytest.raises(ValueError, match=r"order of the codebooks with delays \[0, 1, 2\], but \[Co0_\d\] is out of"):
        joined_speech([tokens_of(codes, plain, False)], words)
    with pytest.raises(ValueError, match="must hold at least one frame with a code of every codebook"):
        joined_speech([tokens[:1]], words)


def test_a_prompt_is_closed_only_where_text_follows() -> None:
    words = vocabulary(3, True, 1)
    one, two = (random_frames(number, 3, number) for number in (2, 3))
    parts = [Segment(Modality.SPEECH, tuple(tokens_of(frames, words, True))) for frames in (one, two)]
    whole = tokens_of(np.concatenate([one, two]), words, True)
    begun = list(open_stretch(whole, words))
    assert begun == whole[: 5 + 4 + 3]
    for output in ("any", "speech"):
        assert encode_segments(parts, words, output) == [words.speech_marker, *begun]
    assert encode_segments(parts, words, "text") == [words.speech_marker, *whole, words.text_marker]
    assert encode_segments(parts, words, closed=True) == [words.speech_marker, *whole]
    text = Segment(Modality.TEXT, (3,))
    closed = [words.speech_marker, *parts[0].tokens, words.text_marker, 3]
    assert encode_segments([parts[0], text], words) == closed
    assert encode_segments([parts[0], text], words, "speech") == [*closed, words.speech_marker]


class Decoder:
    sample_rate, hop_length, num_codebooks, lookahead = 16_000, 2, 2, 1

    def __init__(self, streams: tuple[Stream, ...]) -> None:
        self.layout, self.decoded = SpeechLayout(streams), 0

    def speaker_id(self, speaker: object) -> int: ...

    def style_id(self, style: object) -> int: ...

    def decode_frames(self, codes: torch.Tensor) -> torch.Tensor:
        self.decoded += 1
        return codes[:, :2].reshape(-1).float()


@pytest.mark.parametrize("frames", [1, 2, 5])  # of the prompt
@pytest.mark.parametrize("delay", [0, 1, 3])
def test_streaming_frame_by_frame_is_speaking_at_once(frames: int, delay: int) -> None:
    words = vocabulary(2, False, delay)
    synthesis = CodebookSynthesis(Decoder(layout(2, False).streams), words)
    said, more = random_frames(frames, 2), random_frames(6, 2, 1)
    before = Speech(tokens=tuple(tokens_of(said, words, False)))
    begun = open_stretch(before.tokens or (), words)
    coming = tokens_of(np.concatenate([said, more]), words, False)[len(begun) :]
    (segment,) = decode_tokens(coming, words, 0, True, begun)
    assert segment.continues and segment.tokens == tuple(tokens_of(more, words, False))
    whole = synthesis.speak_after(before, segment.tokens)
    assert whole.tolist() == more.reshape(-1).tolist()
    for size in (1, 3):
        stream = synthesis.stream(before, 1, None, begun)
        parts = [stream.add(coming[place : place + size]) for place in range(0, len(coming), size)]
        assert torch.cat([*parts, stream.add([], ended=True)]).tolist() == whole.tolist()


def test_a_reader_goes_through_each_token_once() -> None:
    words = vocabulary(3, False, 1)
    tokens = tokens_of(random_frames(2_000, 3), words, False)
    reader = FrameReader(words)
    held = 0
    for token in tokens:
        reader.add(token)
        held = max(held, len(reader._frames))
    assert held <= 3 and reader.strange is None


def test_a_decoder_of_other_sizes_or_rates_is_refused() -> None:
    words = vocabulary(2, False, 1)
    check_synthesis(Decoder(layout(2, False).streams), words, "here")  # delays are the model's own affair
    for changed in ({"size": 4}, {"rate": 50.0}, {"num_codebooks": 3}, {"name": "other"}):
        other = Stream(**{**vars(layout(2, False).first), **changed})
        with pytest.raises(ValueError, match="vocoder must speak the language model's streams .* but here speaks"):
            check_synthesis(Decoder((other,)), words, "here")
    with pytest.raises(ValueError, match="but here speaks"):
        check_synthesis(Decoder(layout(2, False).streams), Vocabulary.spirit_lm(9), "here")
