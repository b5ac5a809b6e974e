"""Prompts to answers, with a tiny Llama of random weights and stand-in tokenizers."""

import math
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.contracts.speech_tokenizer import Units
from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, Text
from spiritlm_pl.generation.sampling import batches_within
from spiritlm_pl.streams import PITCH, STYLE, UNIT, SpeechLayout, Stream
from spiritlm_pl.vocabulary import Modality, Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=30, num_units=20, multiple_of=64)


class Letters:
    """One token a letter; 29 ends the sequence."""

    vocab_size, bos_id, eos_id, opening, joint = 30, None, 29, (), " "

    def encode(self, text, continuing=False):
        return [ord(letter) - ord("a") for letter in text if letter.isalpha()]

    def encode_stream(self, stream):
        return None

    def decode(self, ids):
        return "".join(chr(ord("a") + i) for i in ids)


class Levels:
    """One unit a frame: how loud it is."""

    sample_rate, frame_rate, hop_length, cardinality = 16_000, 25.0, 640, 20
    layout = SpeechLayout.spirit_lm(num_units=20, frame_rate=25.0)

    def encode(self, waveforms, lengths):
        frames = waveforms.unfold(1, 640, 640).abs().amax(-1).mul(19).long()
        return [Units.from_frames(row[: int(n) // 640]) for row, n in zip(frames, lengths, strict=True)]


class Tones:
    """Speaks a unit as a constant level, two frames each."""

    sample_rate, hop_length, expressive, num_units = 16_000, 640, False, 20

    def predict_log_durations(self, units):
        return torch.full(units.shape, 3.0).log()

    def synthesize(self, units, speaker=0, durations=None, pitches=None, styles=None, style=None):
        durations = torch.full((len(units),), 2) if durations is None else durations
        return (units / 19.0).repeat_interleave(durations * 640)


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY.num_rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def spirit_lm(model):
    return SpiritLM(model, Letters(), VOCABULARY, Levels(), Tones())


def describe(answers):
    return [[piece.text if isinstance(piece, Text) else piece.units.tolist() for piece in pieces] for pieces in answers]


def test_forced_output_holds_one_modality(spirit_lm):
    settings = GenerationSettings(max_new_tokens=30, num_samples=3)
    for pieces in spirit_lm.generate([Text("abc")], "text", settings):
        assert all(isinstance(piece, Text) for piece in pieces)
    for pieces in spirit_lm.generate([Text("abc")], "speech", settings):
        assert all(isinstance(piece, Speech) for piece in pieces)
        assert all(piece.units.max() < VOCABULARY.size(UNIT) for piece in pieces)


@pytest.mark.parametrize("output", ["text", "speech", "any"])
@pytest.mark.parametrize("end", [None, 28])  # the tokenizer's, or what the model was trained with
def test_answers_end_by_themselves_in_every_modality(spirit_lm, model, output, end):
    vocabulary = replace(VOCABULARY, end_of_document=end)
    ending = SpiritLM(model, spirit_lm.text_tokenizer, vocabulary, Levels(), Tones())
    assert ending.end_token == (29 if end is None else 28)
    settings = GenerationSettings(max_new_tokens=12, num_samples=16, temperature=4.0, min_speech_units=0, top_p=1)
    written = []
    decode = ending.decode_answer
    ending.decode_answer = lambda prompt, tokens, *rest: written.append(tokens) or decode(prompt, tokens, *rest)
    prompts = [[Text("abc")], [Text("a"), Speech(units=torch.tensor([1, 5, 2]))]]
    answers = [answer for found in ending.generate_batch(prompts, output, settings) for answer in found]
    assert {answer.finish_reason for answer in answers} == {"stop", "length"}
    for answer, tokens in zip(answers, written, strict=True):
        assert ending.end_token not in tokens  # nor is it in what is said
        assert (len(tokens) < 12) or answer.finish_reason == "length"
        assert (len(tokens) == 12) or answer.finish_reason == "stop"
    for number, prompt in enumerate(prompts):
        alone = ending.generate(prompt, output, settings)
        assert [one.finish_reason for one in alone] == [one.finish_reason for one in answers[16 * number :][:16]]


def test_answers_do_not_depend_on_the_batch_or_touch_the_global_random_state(spirit_lm):
    speech = Speech(units=torch.tensor([1, 5, 2]))
    prompts = [[Text("abcdefgh")], [speech], [Text("x"), Speech(torch.rand(6400))]]
    settings = GenerationSettings(max_new_tokens=20, seed=3, num_samples=2)
    state = torch.get_rng_state()
    together = spirit_lm.generate_batch(prompts, "any", settings)
    assert torch.equal(torch.get_rng_state(), state)
    alone = [spirit_lm.generate(prompt, "any", settings) for prompt in prompts]
    assert [describe(answers) for answers in together] == [describe(answers) for answers in alone]
    assert describe(together[0])[0] != describe(together[0])[1]


@pytest.mark.parametrize("batch_size", [2, 16])
def test_a_long_prompt_does_not_shorten_the_others(spirit_lm, monkeypatch, batch_size):
    monkeypatch.setattr(spirit_lm.text_tokenizer, "eos_id", None, raising=False)
    prompts = [[Text("abc")], [Text("a" * 250)], [Text("ab")], [Text("a" * 200)]]
    settings = GenerationSettings(max_new_tokens=40, batch_size=batch_size)
    together = [answers[0][0].text for answers in spirit_lm.generate_batch(prompts, "text", settings)]
    assert [len(text) for text in together] == [40, 5, 40, 40]  # 250 letters and [Text] leave room for 5 of 256
    assert together == [spirit_lm.generate(prompt, "text", settings)[0][0].text for prompt in prompts]


def test_prompts_of_both_modalities_have_their_own_limits(spirit_lm, monkeypatch):
    monkeypatch.setattr("spiritlm_pl.generation.settings.TEXT_TO_SPEECH_TOKENS", 7)
    monkeypatch.setattr("spiritlm_pl.generation.settings.SPEECH_TOKENS", 12)
    lengths = []
    monkeypatch.setattr(
        spirit_lm, "decode_answer", lambda prompt, tokens, *_: lengths.append((prompt.last, len(tokens))) or []
    )
    monkeypatch.setattr(spirit_lm.text_tokenizer, "eos_id", None, raising=False)
    calls = []
    spirit_lm.generate_batch(
        [[Text("abc")], [Speech(units=torch.tensor([1, 5]))]], "speech", progress=lambda *done: calls.append(done)
    )
    assert lengths == [(Modality.TEXT, 7), (Modality.SPEECH, 12)]
    assert calls == [(done, 12) for done in range(1, 13)]


@pytest.mark.parametrize(
    ("context", "lengths", "expected"),
    [
        (None, [1, 90, 1, 1, 1], [3, 2]),
        (100, [91, 80, 5, 5, 5], [1, 3, 1]),
        (100, [5, 5, 95, 5, 5], [2, 1, 2]),
        (100, [99], [1]),
        (100, [], []),
    ],
)
def test_batches_end_within_the_context(context, lengths, expected):
    limits = [10 if context is None else min(10, context - length) for length in lengths]
    found = batches_within(context, [[0] * length for length in lengths], limits, 3)
    assert [rows.stop - rows.start for rows in found] == expected
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(len(lengths)))


def test_tokens_agree_with_generation_without_a_cache(spirit_lm, model):
    prompt = spirit_lm.encode_prompt([Text("abc")], "text").tokens
    expected = list(prompt)
    for _ in range(12):
        scores = model(torch.tensor([expected])).logits[0, -1]
        expected.append(int(scores[:30].argmax()))
        if expected[-1] == 29:
            break
    answer = spirit_lm.generate([Text("abc")], "text", GenerationSettings(greedy=True, max_new_tokens=12))[0]
    expected = [token for token in expected[len(prompt) :] if token != 29]
    assert spirit_lm.text_tokenizer.encode("".join(piece.text for piece in answer)) == expected


def test_speech_that_continues_speech_is_spoken_with_its_prompt(spirit_lm):
    prompt = Speech(units=torch.tensor([3, 4]), durations=torch.tensor([5, 7]))
    settings = GenerationSettings(max_new_tokens=10)
    (piece,) = spirit_lm.generate([prompt], "speech", settings)[0]
    repeated = int(piece.units[0]) == 4
    assert len(piece.waveform) == (len(piece.units) - repeated) * 2 * 640
    assert piece.waveform[-1] == piece.units[-1] / 19


def test_a_repeated_last_unit_of_the_prompt_is_no_answer(spirit_lm, monkeypatch):
    loud = torch.full((6400,), 0.5)  # unit 9
    tokens = [VOCABULARY.bounds(UNIT)[0] + 9, VOCABULARY.marker(Modality.TEXT), 3]
    monkeypatch.setattr("spiritlm_pl.generation.spirit_lm.continue_tokens", lambda *args, **named: [tokens])
    (pieces,) = spirit_lm.generate([Speech(loud, 16_000)])
    assert [piece.text for piece in pieces] == ["d"]


def test_settings_of_the_paper():
    settings = GenerationSettings()
    assert (settings.temperature, settings.top_p) == (0.8, 0.95)
    for layout in (SpeechLayout.spirit_lm(501), SpeechLayout.spirit_lm(501, 50.0, 64, 100)):
        assert settings.fewest_units(layout) == 25
        assert settings.limit(Modality.TEXT, "text", layout) == 50
        assert settings.limit(Modality.TEXT, "speech", layout) == 200
        assert settings.limit(Modality.SPEECH, "speech", layout) == 300
        assert settings.limit(Modality.TEXT, "any", layout) == 300


@pytest.mark.parametrize("rate", [12.5, 75.0])
def test_answers_of_codecs_last_as_long_whatever_their_rate(rate):
    stream = Stream(name="codec", prefix="Co", size=8, rate=rate, num_codebooks=4, deduplicated=False)
    layout, settings = SpeechLayout((stream,)), GenerationSettings()
    assert settings.limit(Modality.TEXT, "speech", layout) == 8 * rate * 4
    assert settings.limit(Modality.SPEECH, "any", layout) == 12 * rate * 4
    assert settings.limit(Modality.SPEECH, "text", layout) == 50
    assert settings.fewest_units(layout) == math.ceil(rate)
    given = GenerationSettings(max_new_tokens=7, min_speech_units=3)
    assert (given.limit(Modality.TEXT, "speech", layout), given.fewest_units(layout)) == (7, 3)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([], "empty"),
        ([Text("")], "empty"),
        (["a string"], "must hold Text and Speech, or be one string, but holds 'a string'"),
        ("[Speech]hello there", "must be followed by speech tokens, but is followed by 'hello there' instead"),
        ("[Text]a[Speech] b[Speech][Hu1]", "must be followed by speech tokens, but is followed by 'b' instead"),
        ("[Speech][Hu01]", r"must be written without leading zeros, but one is \[Hu01\] instead"),
        ([Text("a" * 300)], "context of 256 tokens, but has 301"),
        ([Speech("missing.wav")], "missing.wav is not there"),
        ([Speech()], "audio or units"),
        ([Speech(torch.zeros(100))], "at least 640 samples"),
        ([Speech(torch.full((6400,), torch.nan))], "finite samples"),
        ([Speech(torch.full((6400,), 1e-6))], "must hold sound, but is silent"),
    ],
)
def test_bad_prompts_are_named(spirit_lm, prompt, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        spirit_lm.generate(prompt, "any")


def test_stereo_audio_of_another_rate_is_resampled(spirit_lm):
    prompt = spirit_lm.encode_prompt([Speech(torch.full((2, 44_100), 0.5), sample_rate=44_100)])
    assert prompt.last is Modality.SPEECH
    assert prompt.speech.durations.sum() == 25


EXPRESSIVE = Vocabulary.spirit_lm(num_text=30, num_units=20, num_pitches=4, num_styles=5, multiple_of=64)


class Voices(Levels):
    """Pitch and style beside the levels."""

    layout = SpeechLayout.spirit_lm(num_units=20, frame_rate=25.0, num_pitches=4, num_styles=5)

    def encode(self, waveforms, lengths):
        codes = {PITCH: torch.tensor([1, 2, 2, 3, 3]), STYLE: torch.tensor([4])}
        return [replace(units, codes=codes) for units in super().encode(waveforms, lengths)]


class Singer(Tones):
    """Keeps what it is asked to speak."""

    expressive = True

    def synthesize(self, units, speaker=0, durations=None, pitches=None, styles=None, style=None):
        self.asked = units.tolist(), pitches.tolist(), styles.tolist()
        return super().synthesize(units, speaker, durations)


def test_an_answer_goes_on_with_the_pitch_and_style_of_its_prompt(model, monkeypatch):
    waveform = torch.linspace(0.1, 0.9, 6400)  # 10 frames
    singer = Singer()
    spirit_lm = SpiritLM(model, Letters(), EXPRESSIVE, Voices(), singer)
    prompt = spirit_lm.encode_prompt([Speech(waveform)])
    names = "".join(EXPRESSIVE.name(token) for token in prompt.tokens)
    assert names.startswith("[Speech][St4][Pi1][Hu3][Hu4][Pi2][Hu6]") and names.count("[Pi2]") == 1
    offset = EXPRESSIVE.bounds(UNIT)[0]
    tokens = [offset + 1, EXPRESSIVE.bounds(PITCH)[0], offset + 2]
    monkeypatch.setattr("spiritlm_pl.generation.spirit_lm.continue_tokens", lambda *args, **named: [tokens])
    (piece,) = spirit_lm.generate([Speech(waveform)], "speech")[0]
    units, pitches, styles = singer.asked
    assert units[-2:] == [1, 2] and pitches[-2:] == [3, 0] and styles[-2:] == [4, 4]
    assert piece.units.tolist() == [1, 2] and len(piece.waveform) == 2 * 2 * 640


def test_a_base_model_leaves_pitch_and_style_aside(model):
    singer = Singer()
    spirit_lm = SpiritLM(model, Letters(), VOCABULARY, Voices(), singer)
    prompt = spirit_lm.encode_prompt([Speech(torch.full((6400,), 0.5))])
    assert prompt.tokens == [VOCABULARY.speech_marker, VOCABULARY.bounds(UNIT)[0] + 9]
    spirit_lm.generate([Text("abc")], "speech", GenerationSettings(max_new_tokens=5))
    assert set(singer.asked[1]) == {-1}


def test_an_expressive_model_wants_an_expressive_tokenizer(model):
    spirit_lm = SpiritLM(model, Letters(), EXPRESSIVE, Levels(), None)
    with pytest.raises(ValueError, match=r"must have pitch and style codes .* 4 pitches and 5 styles"):
        spirit_lm.encode_prompt([Speech(torch.full((6400,), 0.5))])
