"""Answers told while they are made: put together, they are what `generate` gives."""

from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from spiritlm_pl.contracts.vocoder import StreamingVocoder, UnitVocoder
from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, StreamEnd, Text
from spiritlm_pl.generation.sampling import continue_tokens, stream_tokens
from spiritlm_pl.generation.unit_stream import UnitStream
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary
from spiritlm_pl.vocoder.hifigan import HiFiGANConfig, HiFiGANVocoder
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder
from spiritlm_pl.vocoder.vocoder import Vocoder

UNITS = 20
SIZES = {"num_units": UNITS, "embedding_dim": 8, "duration_channels": 8}
CODES = {"num_pitches": 4, "num_styles": 3}
SMALL = {
    "hifigan": (HiFiGANVocoder, HiFiGANConfig, {"upsample_initial_channels": 32}),
    "inverse_stft": (InverseSTFTVocoder, InverseSTFTConfig, {"channels": 16, "hidden_channels": 32}),
}


def vocoder(kind: str, expressive: bool) -> Vocoder:
    torch.manual_seed(0)
    network, config, sizes = SMALL[kind]
    made = network(config(**SIZES, **sizes, **(CODES if expressive else {}))).eval()
    for name, parameter in made.named_parameters():
        if "bias" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.constant_(made.duration_predictor.proj.bias, 1.0)  # durations of several frames
    return made


@pytest.fixture(autouse=True)
def endless(monkeypatch):
    monkeypatch.setattr(TextTokenizer, "eos_id", None)


@pytest.fixture(scope="module")
def words() -> TextTokenizer:
    return train_text_tokenizer(["the cat sat on the mat", "a dog and a hen and a cow", "\u00e9l\u00e8ve \u4e2d"])


def spirit_lm(words: TextTokenizer, kind: str, expressive: bool) -> SpiritLM:
    vocabulary = Vocabulary.spirit_lm(num_text=words.vocab_size, num_units=UNITS, **(CODES if expressive else {}))
    torch.manual_seed(1)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=vocabulary.num_rows, **shape, initializer_range=0.5, max_position_embeddings=512)
    model = LlamaForCausalLM(config).eval()
    return SpiritLM(model, words, vocabulary, None, vocoder(kind, expressive))


def likely_end(module, args, output):
    output.logits[..., 2] = output.logits.logsumexp(-1) - 1.5


PROMPTS = {"text": [Text("the cat")], "speech": [Text("a dog"), Speech(units=torch.tensor([1, 5, 2, 7]))]}


@pytest.mark.parametrize("output", ["text", "speech", "any"])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    ("kind", "expressive"), [("hifigan", False), ("hifigan", True), ("inverse_stft", False), ("inverse_stft", True)]
)
def test_chunks_together_are_the_answer(words, kind, expressive, prompt, output):
    model = spirit_lm(words, kind, expressive)
    chunks = 0
    reasons = []
    for seed in range(5):
        if seed == 3:
            model.vocabulary = replace(model.vocabulary, end_of_document=2)
            model.model.register_forward_hook(likely_end)
        settings = GenerationSettings(max_new_tokens=60, seed=seed, min_speech_units=3, temperature=1.5)
        whole = model.generate(PROMPTS[prompt], output, settings)[0]
        told: dict[int, list] = {}
        *events, end = model.stream(PROMPTS[prompt], output, settings, chunk_frames=4)
        assert end == StreamEnd(whole.finish_reason)
        reasons.append(end.finish_reason)
        for new in events:
            told.setdefault(new.number, []).append(new.piece)
            chunks += 1
        assert len(told) == len(whole) and sorted(told) == list(range(len(whole)))
        for pieces, wanted in zip(told.values(), whole, strict=True):
            if isinstance(wanted, Text):
                assert "".join(piece.text for piece in pieces) == wanted.text
            else:
                waveform = torch.cat([piece.waveform for piece in pieces])
                torch.testing.assert_close(waveform, wanted.waveform, atol=1e-4, rtol=0)
    assert chunks > 6 and reasons == 3 * ["length"] + 2 * ["stop"]


@pytest.mark.parametrize(("kind", "expressive"), [("hifigan", False), ("inverse_stft", True)])
def test_speech_comes_before_its_end(words, kind, expressive):
    model = spirit_lm(words, kind, expressive)
    stream = UnitStream(model.vocoder, model.vocabulary, Voice(), chunk_frames=4)
    settings = GenerationSettings(max_new_tokens=90, temperature=1.5)
    *pieces, end = model.stream([Text("the cat")], "speech", settings, chunk_frames=4)
    assert end == StreamEnd("length")
    assert len(pieces) > 3 and all(len(new.piece.waveform) >= 4 * 640 for new in pieces[:-1])
    assert not len(stream.add([model.vocabulary.token(UNIT, 3)]))  # its duration depends on what follows


@pytest.mark.parametrize("kind", SMALL)
def test_the_margin_is_as_wide_as_the_layers_reach_and_no_wider(kind):
    generator = vocoder(kind, expressive=False).generator.double().train()  # evaluation clips, which hides influence
    place = 2 * generator.margin
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    conditioning = torch.randn(1, 16, 4 * generator.margin, dtype=torch.double, requires_grad=True)
    waveform = generator(conditioning)[0]
    first, last = (
        torch.autograd.grad(waveform[sample], conditioning, retain_graph=True)[0].abs().sum((0, 1)).nonzero().flatten()
        for sample in (640 * place, 640 * place + 639)
    )
    assert int(first[0]) == place - generator.margin and int(last[-1]) == place + generator.margin


def test_a_stream_has_one_sample(words):
    model = spirit_lm(words, "hifigan", False)
    with pytest.raises(ValueError, match="num_samples must be 1 for a stream, but is 2 instead"):
        next(model.stream([Text("the cat")], settings=GenerationSettings(num_samples=2)))


def test_neither_does_what_a_base_model_asks_for_in_its_generation_config(words):
    model = spirit_lm(words, "hifigan", False)
    settings = GenerationSettings(greedy=True, max_new_tokens=60)
    prompt = model.encode_prompt([Text("the cat")], "text")

    def generated():
        whole = continue_tokens(
            model.model, [prompt.tokens], model.vocabulary, "text", settings, limits=[60], seeds=[0]
        )[0]
        assert whole == [*stream_tokens(model.model, prompt, model.vocabulary, "text", settings)]
        return whole

    free = generated()
    assert len(set(free)) < len(free) == 60
    asked = GenerationConfig(no_repeat_ngram_size=1, eos_token_id=free[5], suppress_tokens=[free[0]])
    model.model.generation_config = asked
    assert generated() == free
    assert model.model.generation_config is asked


def test_less_lookahead_is_sooner(words):
    model, settings = spirit_lm(words, "hifigan", False), GenerationSettings(max_new_tokens=60)
    exact, soon = (list(model.stream([Text("the cat")], "speech", settings, 4, wait))[:-1] for wait in (None, 2))
    assert len(soon) > len(exact)
    assert sum(len(new.piece.waveform) for new in soon) == sum(len(new.piece.waveform) for new in exact)
    with pytest.raises(ValueError, match="lookahead at least 0, but are 4 and -1 instead"):
        list(model.stream([Text("the cat")], "speech", settings, 4, -1))


class ContractVocoder:
    """Keeps the contract of unit vocoders, and nothing else: a vocoder of another package."""

    def __init__(self, vocoder):
        for name in ("layout", "sample_rate", "hop_length", "expressive", "num_units"):
            setattr(self, name, getattr(vocoder, name))
        for name in ("speaker_id", "style_id", "predict_log_durations", "synthesize"):
            setattr(self, name, getattr(vocoder, name))


def test_a_vocoder_that_speaks_no_window_is_heard_at_the_end_of_a_stretch(words):
    own = spirit_lm(words, "inverse_stft", expressive=False)
    assert isinstance(own.vocoder, StreamingVocoder)
    other = ContractVocoder(own.vocoder)
    assert isinstance(other, UnitVocoder) and not isinstance(other, StreamingVocoder)
    model = SpiritLM(own.model, words, own.vocabulary, None, other)
    settings = GenerationSettings(max_new_tokens=30, min_speech_units=1)
    speech = Speech(units=torch.tensor([3, 1, 4, 1, 5]))
    for prompt in ([Text("the cat")], [speech]):
        (answer,) = model.generate(prompt, "speech", settings)
        *told, end = model.stream(prompt, "speech", settings)
        assert end == StreamEnd("length") and len(told) == 1
        assert torch.equal(told[0].piece.waveform, answer[0].waveform) and len(answer[0].waveform)
    with pytest.raises(ValueError, match="chunk_frames must be at least 1 .* but are 0 and None instead"):
        list(model.stream([Text("the cat")], "speech", settings, 0))


def test_nothing_is_computed_once_nobody_wants_the_rest(words):
    asked = iter([False] * 5 + [True] * 100)
    settings = GenerationSettings(greedy=True, max_new_tokens=40)
    model = spirit_lm(words, "hifigan", False)
    prompt = model.encode_prompt([Text("the cat")])
    some = [*stream_tokens(model.model, prompt, model.vocabulary, "speech", settings, stopped=lambda: next(asked))]
    assert len(some) == 5 and next(asked)  # asked once more, and no more
    assert sum(1 for _ in asked) == 100 - 2
    assert not [
        item
        for item in model.stream([Text("the cat")], "speech", settings, stopped=lambda: True)
        if not isinstance(item, StreamEnd)
    ]
