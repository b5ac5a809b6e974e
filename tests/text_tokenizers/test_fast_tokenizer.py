"""Exported tokenizers give the ids of our own encoding, and of the published one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spiritlm_pl.conversations.chat_template import chat_template
from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.rendering import Renderer
from spiritlm_pl.conversations.template import ConversationTemplate, Side, load_template
from spiritlm_pl.generation.stream import Segment, encode_segments
from spiritlm_pl.streams import UNIT
from spiritlm_pl.text_tokenizers.fast_tokenizer import ModelProto, fast_tokenizer
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer
from spiritlm_pl.vocabulary import Modality, Vocabulary

LINES = ["the cat sat on the mat", "a dog ran to the park, didn't it?", "3 birds sang in 1984: naïve café"] * 4
SPEECH = {"num_units": 20, "multiple_of": 16}
EXPRESSIVE = {**SPEECH, "num_pitches": 4, "num_styles": 3}


def sentencepiece_folder(folder: Path) -> None:
    train_text_tokenizer(LINES).save(folder)


def byte_level_folder(folder: Path) -> None:
    """As SmolLM's and GPT-2's: bytes, and a space that belongs to the word after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [AddedToken("<|endoftext|>", special=True)]
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)


def prefixing_folder(folder: Path) -> None:
    """As Llama 2's first fast one: the normalizer puts the space before a text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    words = [f"▁{word}" for line in LINES for word in line.split()]
    tokenizer.train_from_iterator(
        words, trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False)
    )
    trained = json.loads(tokenizer.to_str())
    trained["added_tokens"] = trained["added_tokens"][:3]  # the bytes are pieces of text
    tokenizer = Tokenizer.from_str(json.dumps(trained))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def reopened(tokenizer: PreTrainedTokenizerFast, folder: Path) -> PreTrainedTokenizerFast:
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


MAKERS = [sentencepiece_folder, byte_level_folder, prefixing_folder]


@pytest.mark.parametrize("make", MAKERS)
def test_characters_without_tokens_are_known(make, tmp_path):
    make(tmp_path)
    text = TextTokenizer.load(tmp_path)
    unknown = "" if make is byte_level_folder else "щука"  # whose tokens are bytes, or parts of characters
    assert text.unknown_characters("the щука cat,\n\ta щук") == unknown
    assert text.unknown_characters("the cat sat\non the mat") == text.unknown_characters("") == ""


PAIRS = [(make, kinds) for make in MAKERS for kinds in (SPEECH, EXPRESSIVE)]


@pytest.fixture(scope="module", params=PAIRS, ids=[f"{make.__name__}-{len(kinds)}" for make, kinds in PAIRS])
def pair(request, tmp_path_factory):
    """Our text tokenizer, its vocabulary, and the exported tokenizer."""
    make, kinds = request.param
    folder = tmp_path_factory.mktemp("text")
    make(folder)
    text = TextTokenizer.load(folder)
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, **kinds)
    return (
        text,
        vocabulary,
        reopened(fast_tokenizer(TextTokenizer.load(folder), vocabulary), tmp_path_factory.mktemp("fast")),
    )


# No combining marks: `tokenizers` takes the charsmap of SentencePiece a grapheme at a time, and loses some.
CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Mn", "Mc", "Me"))
ANY_TEXT = st.text(CHARACTERS, max_size=8)
LOADED_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.sampled_from(["the", "cat", "Don't,", "1984", "naïve", "Ωμέγα", "你好", "😀", "[abc]", "½", " ", "\n", "▁a"])


@LOADED_MACHINE
@given(st.lists(st.one_of(WORDS, ANY_TEXT, st.lists(st.integers(0, 26), min_size=1)), min_size=1, max_size=8))
def test_same_ids_as_our_own_encoding(pair, parts):
    """A prompt of text and speech in turns, as one string and as segments."""
    text, vocabulary, fast = pair
    segments, string, last = [], "", None
    speech = range(vocabulary.bounds(UNIT)[0], vocabulary.num_tokens)
    for part in parts:
        modality = Modality.TEXT if isinstance(part, str) else Modality.SPEECH
        if modality is last or (isinstance(part, str) and not text.encode(part)):
            continue
        if isinstance(part, str):
            tokens = text.encode(part)
            if "<" in part:
                continue  # `<s>` in a string is that token
            string += f"[Text]{part}"
        else:
            tokens = [speech[index % len(speech)] for index in part]
            string += "[Speech]" + "".join(vocabulary.name(token) for token in tokens)
        segments.append(Segment(modality, tuple(tokens)))
        last = modality
    if segments:
        assert fast.encode(string) == encode_segments(segments, vocabulary)


@LOADED_MACHINE
@given(ANY_TEXT, st.sampled_from(["[Hu1]", "[Text]", "<s>", "</s>", "<|endoftext|>", "[Speech][Hu2]"]), ANY_TEXT)
def test_text_that_a_user_types_holds_no_control_tokens(pair, before, typed, after):
    text, vocabulary, fast = pair
    ids = fast.encode(before + typed + after, split_special_tokens=True)
    assert ids == text.encode(before + typed + after)
    assert all(token < vocabulary.num_text for token in ids) and not set(ids) & {fast.bos_token_id, fast.eos_token_id}
    assert max(fast.encode(typed)) >= vocabulary.num_text or typed[0] == "<"  # it would, if it were not split


def test_decoding_gives_the_string(pair):
    text, vocabulary, fast = pair
    last = vocabulary.name(vocabulary.num_tokens - 1)
    string = f"[Speech][Hu1][Hu2]{last}[Text]the cat, [abc] 你好 1 2![Speech]{last}[Hu0]"
    assert fast.decode(fast.encode(string)) == string
    assert fast.decode(fast.encode(string), skip_special_tokens=True).strip() == "the cat, [abc] 你好 1 2!"
    assert fast.decode(text.encode("the cat")) == "the cat"
    assert len(fast) == vocabulary.num_tokens


def test_markers_of_tasks(tmp_path):
    sentencepiece_folder(tmp_path)
    text = TextTokenizer.load(tmp_path)
    vocabulary = Vocabulary.spirit_lm(num_text=text.vocab_size, num_tasks=2, **SPEECH)
    fast = fast_tokenizer(TextTokenizer.load(tmp_path), vocabulary)
    parts = [
        Segment(Modality.SPEECH, (vocabulary.token(UNIT, 3),)),
        Segment(Modality.TEXT, tuple(text.encode("a dog"))),
    ]
    string = "[Speech][Hu3][ASR]a dog"
    assert fast.encode(string) == encode_segments(parts, vocabulary) and fast.decode(fast.encode(string)) == string


def test_tokenizers_that_do_not_fit_are_refused(tmp_path):
    text = train_text_tokenizer(LINES)
    text.save(tmp_path / "bpe")
    with pytest.raises(
        ValueError, match=f"must have the 50 text tokens of the vocabulary, but .*bpe has {text.vocab_size} instead"
    ):
        TextTokenizer.load_fitting(tmp_path / "bpe", Vocabulary(num_text=50))


@pytest.fixture(scope="module")
def published_kind(tmp_path_factory):
    """A small tokenizer in the published format: the speech tokens are pieces of the SentencePiece model."""
    folder = tmp_path_factory.mktemp("published")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_prefix=str(folder / "text"),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    proto = ModelProto.FromString((folder / "text.model").read_bytes())
    vocabulary = Vocabulary.spirit_lm(num_text=len(proto.pieces), **EXPRESSIVE)
    for token in range(vocabulary.num_text, vocabulary.num_tokens):
        proto.pieces.add(piece=vocabulary.name(token), score=0.0, type=ModelProto.SentencePiece.USER_DEFINED)
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return (
        folder,
        processor,
        vocabulary,
        reopened(fast_tokenizer(TextTokenizer.load(folder), vocabulary), folder / "fast"),
    )


STRINGS = st.one_of(
    WORDS, ANY_TEXT, st.sampled_from(["[Text]", "[Speech]", "[Hu1]", "[Hu19]", "[Hu20]", "[Pi3]", "[St2]", "[Hu", "  "])
)


@LOADED_MACHINE
@given(st.lists(STRINGS, max_size=10).map("".join).filter(lambda string: "<" not in string))
def test_same_ids_as_sentencepiece_gives_for_the_whole_string(published_kind, string):
    _, processor, _, fast = published_kind
    assert fast.encode(string) == [processor.bos_id(), *processor.encode(string)]
    assert fast.encode(string, add_special_tokens=False) == processor.encode(string)


def test_whole_strings_are_decoded_and_other_orders_refused(published_kind):
    folder, processor, vocabulary, fast = published_kind
    string = "[Speech][St0][Pi1][Hu2][Text]the cat [1]  two[Speech][Hu3]"
    ids = fast.encode(string)
    assert ids[:3] == [1, processor.piece_to_id("▁"), vocabulary.speech_marker]
    assert fast.decode(ids) == f"<s>{string}" and fast.decode(ids, skip_special_tokens=True) == string
    for kinds in ({"num_units": 19, "num_pitches": 5, "num_styles": 3}, {"num_units": 20}):
        with pytest.raises(ValueError, match="speech tokens must follow the text in their order"):
            fast_tokenizer(TextTokenizer.load(folder), Vocabulary.spirit_lm(num_text=vocabulary.num_text, **kinds))


CHAT = [
    {"role": "system", "content": " Be brief. "},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this:"},
            {"type": "speech", "tokens": "[Hu1][Hu2]"},
            {"type": "text", "text": "a dog?"},
        ],
    },
    {"role": "assistant", "content": "The cat, naïve 1984"},
    {"role": "user", "content": [{"type": "speech", "tokens": "[Hu3][Hu4]"}]},
    {"role": "assistant", "content": [{"type": "speech", "tokens": "[Hu5]"}]},
]


def conversation(messages: list) -> Conversation:
    turns = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        made = [Part(text=part.get("text"), tokens=part.get("tokens")) for part in parts]
        turns.append(Turn(message["role"], tuple(made)))
    return Conversation("one", tuple(turns))


@pytest.mark.parametrize("template", ["chat", "framed"])
def test_chat_template_gives_the_ids_of_a_rendered_conversation(pair, template):
    text, vocabulary, _ = pair
    vocabulary = replace(vocabulary, end_of_document=text.eos_id)
    framed = {name: Side(before="", after="over", ends=True) for name in ("system", "user", "assistant")}
    form = load_template("chat") if template == "chat" else ConversationTemplate(framed)
    speech = {"[Hu1][Hu2]": (1, 2), "[Hu3][Hu4]": (3, 4), "[Hu5]": (5,)}
    renderer = Renderer(
        form, text, vocabulary, lambda part: [vocabulary.token(UNIT, unit) for unit in speech[part.tokens]]
    )
    fast = fast_tokenizer(text, vocabulary)
    fast.chat_template = chat_template(form, text, vocabulary)
    for length in range(3, len(CHAT) + 1):
        expected = renderer(conversation(CHAT[:length])).tokens.tolist()
        assert fast.apply_chat_template(CHAT[:length], return_dict=False) == expected
    prompt = fast.apply_chat_template(CHAT[:4], return_dict=False, add_generation_prompt=True)
    whole = renderer(conversation(CHAT)).tokens.tolist()
    assert whole[: len(prompt)] == prompt and len(prompt) < len(whole)
    with pytest.raises(Exception, match="role must be one of system, user, assistant, but is narrator"):
        fast.apply_chat_template([{"role": "narrator", "content": "x"}])
