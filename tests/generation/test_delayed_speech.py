"""A model with delayed codebooks: prompts that go on, answers that can be prompts, and files of the older order."""

import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.data.blocks import read_manifest, write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.evaluation.choice import DIRECTIONS, sequence
from spiritlm_pl.generation import GenerationSettings, Speech, SpiritLM, Text
from spiritlm_pl.generation.codebooks import codebook_frames, open_stretch, stretch_tokens
from spiritlm_pl.generation.scoring import encode_choice
from spiritlm_pl.generation.stream import speech_string
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.runtime.model_description import DESCRIPTION_FILE, read_vocabulary
from spiritlm_pl.serve.session import Session
from spiritlm_pl.streams import SpeechLayout, Stream, delayed
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Vocabulary

CODEC = Stream(name="codec", prefix="Co", size=16, rate=12.5, num_codebooks=3, deduplicated=False)


class Decoder:
    """Gives the codes back as samples."""

    sample_rate, hop_length, num_codebooks, lookahead, layout = 16_000, 3, 3, 1, SpeechLayout((CODEC,))

    def speaker_id(self, speaker: object) -> int:
        return 0

    def style_id(self, style: object) -> int:
        return 0

    def decode_frames(self, codes: torch.Tensor) -> torch.Tensor:
        return codes.reshape(-1).float()


def model(delay: int, speaks: bool = True, end: int | None = 2) -> SpiritLM:
    torch.manual_seed(0)
    text = train_text_tokenizer(["the cat sat on the mat", "a dog ran off"] * 5)
    streams = delayed([CODEC], delay)
    vocabulary = Vocabulary(num_text=text.vocab_size, streams=streams, multiple_of=1, end_of_document=end)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=vocabulary.num_rows, max_position_embeddings=256, eos_token_id=None, **sizes)
    return SpiritLM(LlamaForCausalLM(config).eval(), text, vocabulary, vocoder=Decoder() if speaks else None)


def spoken(frames: torch.Tensor, vocabulary: Vocabulary) -> Speech:
    return Speech(tokens=stretch_tokens(frames, vocabulary))


def some_frames(number: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(16, (number, 3), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("speaks", [True, False])
@pytest.mark.parametrize("output", ["speech", "any"])
@pytest.mark.parametrize("delay", [0, 1, 3])
def test_an_answer_goes_on_with_the_prompt_and_is_a_stretch_of_its_own(delay: int, output: str, speaks: bool) -> None:
    spirit_lm = model(delay, speaks)
    words = spirit_lm.vocabulary
    first, second = some_frames(2), some_frames(4, 1)
    prompt = [Text("the cat"), spoken(first, words), spoken(second, words)]
    encoded = spirit_lm.encode_prompt(prompt, output)
    whole = stretch_tokens(torch.cat([first, second]), words)
    assert encoded.stretch == whole and tuple(encoded.tokens[-len(open_stretch(whole, words)) :]) == open_stretch(
        whole, words
    )
    assert (len(open_stretch(whole, words)) < len(whole)) == (delay > 0)
    heard = 0
    for seed in range(6):
        settings = GenerationSettings(max_new_tokens=60, min_speech_units=1, seed=seed)
        (answer,) = spirit_lm.generate(prompt, output, settings)
        told: dict[int, list] = {}
        for piece in list(spirit_lm.stream(prompt, output, settings, chunk_frames=1))[:-1]:
            told.setdefault(piece.number, []).append(piece.piece)
        assert len(told) == len(answer)
        for piece, parts in zip(answer, told.values(), strict=True):
            if isinstance(piece, Text):
                assert "".join(part.text for part in parts) == piece.text
                continue
            frames = codebook_frames(piece.tokens, words)
            if delay:
                assert piece.tokens == stretch_tokens(frames, words)
            if speaks:
                assert torch.equal(torch.cat([part.waveform for part in parts]), piece.waveform)
                assert piece.waveform.tolist() == frames.reshape(-1).tolist()
            else:
                assert [part.tokens for part in parts] == [piece.tokens]
            heard += len(frames)
        if delay and output == "speech" and answer:  # what was said can be a prompt again
            assert spirit_lm.encode_prompt([*prompt, *answer], "text").tokens[-1] == words.text_marker
    assert heard


def test_the_known_codes_of_a_prompt_are_kept_in_a_batch() -> None:
    spirit_lm = model(1)
    words = spirit_lm.vocabulary
    prompts = [[spoken(some_frames(number, number), words)] for number in (1, 5)]
    settings = GenerationSettings(max_new_tokens=30, greedy=True)
    together = spirit_lm.generate_batch([*prompts, [Text("the cat")]], "speech", settings)
    alone = [spirit_lm.generate(prompt, "speech", settings) for prompt in prompts]
    for (one,), (other,) in zip(together, alone, strict=False):
        assert [piece.tokens for piece in one] == [piece.tokens for piece in other]


@pytest.mark.parametrize("end", [2, None])
def test_forced_speech_is_closed_only_by_a_model_that_knows_ends(end: int | None) -> None:
    spirit_lm = model(1, end=end)
    reasons = []
    for seed in range(12):
        settings = GenerationSettings(max_new_tokens=60, seed=seed)
        (answer,) = spirit_lm.generate([Text("the cat")], "speech", settings)
        frames = sum(len(codebook_frames(piece.tokens, spirit_lm.vocabulary)) for piece in answer)
        assert answer.finish_reason == "stop" or frames == (60 + 3) // 3 - 2  # the last two are not whole
        if answer:  # the end is allowed before any speech
            reasons.append(answer.finish_reason)
    assert ("stop" in reasons) == (end is not None)


def test_scores_count_what_a_context_alone_does_not_have() -> None:
    spirit_lm = model(1)
    words = spirit_lm.vocabulary
    context, more, other = (spoken(some_frames(number, number), words) for number in (3, 2, 4))
    found = encode_choice(spirit_lm._encoder, [context], [[more], [other], [Text("a dog")]], None)
    counted = [len(a) - b for a, b in zip(found.continuations, found.unscored, strict=True)]
    text = spirit_lm.text_tokenizer.encode("a dog", True)
    assert counted == [3 * 2 + 3, 3 * 4 + 3, 1 + len(text)]  # three codes of the context come after its own steps
    for score in spirit_lm.score([context], [[more], [other], [Text("a dog")]]):
        assert np.isfinite(score.total)


def test_choices_put_context_and_continuation_in_one_stretch() -> None:
    words = model(1).vocabulary
    plain = Vocabulary(num_text=words.num_text, streams=(CODEC,), multiple_of=1)
    frames = some_frames(5)
    ids = [list(stretch_tokens(frame[None], plain)) for frame in frames]
    said, asked = ([WordIds([7], one) for one in part] for part in (ids[:3], ids[3:]))
    whole = [words.speech_marker, *stretch_tokens(frames, words)]
    speech = DIRECTIONS["speech_to_speech"]
    assert sequence(said, asked, speech, words) == (whole, 3 * 2 + 3)
    assert sequence(said, [], speech, words) == (whole[: -3 * 2 - 3], 0)  # it can be continued
    cut = [words.speech_marker, *stretch_tokens(frames[1:], words)]
    assert sequence(said, asked, speech, words, 1 + 3 * 4 + 2)[0] == cut  # whole frames are left out
    to_text = [words.speech_marker, *stretch_tokens(frames[:3], words), words.text_marker, 7, 7]
    assert sequence(said, asked, DIRECTIONS["speech_to_text"], words) == (to_text, 2)
    assert sequence(said, asked, speech, plain) == ([plain.speech_marker, *stretch_tokens(frames, plain)], 6)


def test_a_server_says_the_tokens_of_prompt_and_answer_in_one_order() -> None:
    spirit_lm = model(1)
    words = spirit_lm.vocabulary
    session, frames = Session(spirit_lm), some_frames(4)
    answer = session.answer([spoken(frames, words)], "speech", GenerationSettings(max_new_tokens=40, greedy=True))
    (piece,) = answer.pieces
    new = codebook_frames(piece.tokens, words)
    whole = stretch_tokens(torch.cat([frames, new]), words)
    assert [*answer.prompt_tokens, *answer.tokens] == [words.speech_marker, *whole]
    answer = session.answer([spoken(frames, words)], "text", GenerationSettings(max_new_tokens=4, greedy=True))
    closed = [words.speech_marker, *stretch_tokens(frames, words), words.text_marker]
    assert [*answer.prompt_tokens, *answer.tokens][: len(closed)] == closed
    plain = Vocabulary(num_text=words.num_text, streams=(CODEC,), multiple_of=1)
    assert session.vocode(stretch_tokens(frames, words)).waveform.tolist() == frames.reshape(-1).tolist()
    for use in (lambda tokens: session.vocode(tokens), lambda tokens: spirit_lm.codec.decode(tokens)):
        with pytest.raises(ValueError, match="is out of its turn"):
            use(stretch_tokens(frames, plain))
    with pytest.raises(ValueError, match="is out of its turn"):
        spirit_lm.encode_prompt("[Speech]" + speech_string(stretch_tokens(frames, plain), words))


def test_what_was_made_with_delays_through_whole_utterances_is_refused(tmp_path) -> None:
    spirit_lm = model(1)
    words, text = spirit_lm.vocabulary, spirit_lm.text_tokenizer
    assert isinstance(text, TextTokenizer)
    save_lm(tmp_path / "lm", spirit_lm.model, words, text)
    document = Document(1, [WordIds([], [words.token("codec", 1, book) for book in range(3)])])
    entry = write_block(tmp_path / "blocks", 0, [document], words)
    write_manifest(tmp_path / "blocks", "speech", words, [entry], {})
    assert read_vocabulary(tmp_path / "lm") == words == read_manifest(tmp_path / "blocks").vocabulary
    for name, read in ((f"lm/{DESCRIPTION_FILE}", read_vocabulary), ("blocks/manifest.json", read_manifest)):
        path = tmp_path / name
        description = json.loads(path.read_text())
        assert description["vocabulary"]["streams"][0].pop("delays_within") == "stretch"
        path.write_text(json.dumps(description))
        (path.parent / CHECKSUMS).unlink(missing_ok=True)
        with pytest.raises(
            ValueError, match="delays of stream codec must be within each stretch .* train on them anew"
        ):
            read(path.parent)
