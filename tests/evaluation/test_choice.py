"""Choice between continuations: items, scores against a plain loop, a model that knows the answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from spiritlm_pl.corpora.audio import load_waveform, save_wav
from spiritlm_pl.corpora.manifest import make_cut, save_corpus
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.documents import WordIds
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.unit_index import UnitIndex
from spiritlm_pl.evaluation.choice import DIRECTIONS, ChoiceItem, choice_items, cut_place, score_choices, sequence
from spiritlm_pl.evaluation.endings import measure_endings, save_beginnings
from spiritlm_pl.evaluation.interval import wilson_interval
from spiritlm_pl.generation import GenerationSettings
from spiritlm_pl.streams import SpeechLayout, spirit_lm_streams
from spiritlm_pl.vocabulary import Modality, Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=40, num_units=50, multiple_of=32)
ANIMALS = ("cat", "dog", "cow", "hen")


class Letters:
    """One token a letter."""

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text]

    def encode_words(self, words):
        return [self.encode(word) for word in words]


def story(index, speaker):
    """Two sentences about an animal; every word lasts a second and has two units of its letters' sum."""
    animal = ANIMALS[index % len(ANIMALS)]
    words = f"a {animal} came the {animal} ate".split()
    codes = [sum(map(ord, word)) % 50 for word in words]
    units = np.array([value for code in codes for value in (code, (code + 1) % 50)], dtype=np.uint16)
    return UnitUtterance(
        id=f"story{index}",
        speaker=speaker,
        text=" ".join(words),
        duration=6.0,
        num_frames=150,
        words=tuple(TimedWord(word, float(i), i + 0.8) for i, word in enumerate(words)),
        units=units,
        unit_starts=np.arange(12, dtype=np.uint32) * 25 // 2,
        custom={"story": index, "sentence_ends": [3, 6]},
    )


@pytest.fixture
def corpus(tmp_path):
    utterances = [story(index, f"voice{index % 2}") for index in range(12)]
    plain = [
        UnitUtterance(**{**vars(utterance), "id": f"plain{i}", "custom": {}})
        for i, utterance in enumerate(utterances[:3])
    ]
    write_part(tmp_path / "test", 0, utterances + plain, "f")
    finish_folder(tmp_path / "test", ["f"], layout=SpeechLayout.spirit_lm(num_units=50, frame_rate=25.0), provenance={})
    return UnitCorpus(tmp_path, "test")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY.num_rows,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
        )
    ).eval()


def test_items_pair_a_story_with_another_ending_of_the_same_voice(corpus):
    items = choice_items(corpus, Letters(), VOCABULARY)
    assert len(items) == 12
    by_id = UnitIndex(corpus)
    for item in items:
        own, other = by_id[item.id], by_id[item.wrong_id]
        assert own.speaker == other.speaker and own.text != other.text
        assert [len(item.context), len(item.right), len(item.wrong)] == [3, 3, 3]
        assert all(len(word.speech) == 2 for word in item.right)
    ids = [(item.id, item.wrong_id) for item in items]
    assert ids == [(item.id, item.wrong_id) for item in choice_items(corpus, Letters(), VOCABULARY)]
    assert ids != [(item.id, item.wrong_id) for item in choice_items(corpus, Letters(), VOCABULARY, seed=1)]


def test_plain_sentences_are_cut_in_the_middle(corpus):
    items = choice_items(corpus, Letters(), VOCABULARY, kind="sentences")
    assert {item.id for item in items} == {"plain0", "plain1", "plain2"}
    assert [len(items[0].context), len(items[0].right)] == [3, 3]


def test_merged_words_are_counted_as_what_they_say():
    utterance = story(0, "a")
    merged = UnitUtterance(
        **{
            **vars(utterance),
            "words": (TimedWord("a cat", 0, 1), TimedWord("came", 1, 2), TimedWord("the cat ate", 2, 4)),
        }
    )
    assert cut_place(merged, 1) == 2
    across = UnitUtterance(
        **{
            **vars(utterance),
            "words": (TimedWord("a cat", 0, 1), TimedWord("came the", 1, 2), TimedWord("cat ate", 2, 3)),
        }
    )
    assert cut_place(across, 1) is None  # no alignment says where the sentence ends
    missing = UnitUtterance(**{**vars(utterance), "words": utterance.words[:-1]})
    assert cut_place(missing, 1) is None


def test_a_marker_stands_where_the_modality_changes():
    words, more = [WordIds([1, 2], [50])], [WordIds([3], [51, 52])]
    text, speech = VOCABULARY.marker(Modality.TEXT), VOCABULARY.marker(Modality.SPEECH)
    assert sequence(words, more, DIRECTIONS["text_to_text"], VOCABULARY) == ([text, 1, 2, 3], 1)
    to_speech = sequence(words, more, DIRECTIONS["text_to_speech"], VOCABULARY)
    assert to_speech == ([text, 1, 2, speech, 51, 52], 2)
    assert sequence(words, more, DIRECTIONS["speech_to_text"], VOCABULARY) == ([speech, 50, text, 3], 1)
    begun = replace(VOCABULARY, begin_of_document=9, end_of_document=8)  # the end is not scored
    assert sequence(words, more, DIRECTIONS["text_to_text"], begun, 4) == ([9, text, 2, 3], 1)
    opened = sequence(words, more, DIRECTIONS["text_to_text"], VOCABULARY, 5, opening=(8, 9))
    assert opened == ([8, 9, text, 2, 3], 1)  # as a published model wants it; the context loses its beginning


def test_task_markers_say_what_is_asked_for():
    vocabulary = Vocabulary.spirit_lm(num_text=40, num_units=50, num_tasks=2, multiple_of=32)
    asr, tts = vocabulary.task_offset, vocabulary.task_offset + 1
    words, more = [WordIds([1, 2], [50])], [WordIds([3], [51, 52])]
    assert sequence(words, more, DIRECTIONS["text_to_text"], vocabulary) == ([40, 1, 2, 3], 1)
    assert sequence(words, more, DIRECTIONS["text_to_speech"], vocabulary) == ([40, 1, 2, tts, 51, 52], 2)
    assert sequence(words, more, DIRECTIONS["speech_to_text"], vocabulary) == ([41, 50, asr, 3], 1)


@pytest.mark.parametrize(
    ("limit", "direction", "expected"),
    [
        (6, "text_to_text", ([40, 3, 4, 7, 7, 7], 3)),
        (4, "text_to_text", ([40, 4, 7, 7], 2)),  # a token of the context stays, the continuation loses its end
        (6, "speech_to_text", ([41, 54, 40, 7, 7, 7], 3)),
        (5, "speech_to_text", ([41, 54, 40, 7, 7], 2)),
        (None, "text_to_text", ([40, 1, 2, 3, 4, 7, 7, 7], 3)),
    ],
)
def test_what_is_cut_keeps_its_markers_and_its_count(limit, direction, expected):
    context = [WordIds([i], [50 + i]) for i in range(1, 5)]
    assert sequence(context, [WordIds([7], [60])] * 3, DIRECTIONS[direction], VOCABULARY, limit) == expected


def test_a_continuation_that_is_cut_counts_for_what_is_left(model):
    for parameter in model.model.layers.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(model.model.embed_tokens.weight)  # the same hidden state everywhere
    torch.nn.init.zeros_(model.lm_head.weight)
    torch.nn.init.constant_(model.lm_head.weight[5], 0.1)  # token 5 is likelier than all others
    likely, long = [WordIds([5], [])] * 30, [WordIds([6], [])] * 200  # the context is of 64 tokens
    for right, wrong, accuracy in ((likely, long, 1.0), (long, likely, 0.0)):
        item = ChoiceItem("a", "b", [WordIds([1], [])] * 5, right, wrong)
        assert score_choices(model, [item], VOCABULARY, ["text_to_text"]).results()["text_to_text"].accuracy == accuracy


def learn(model, rows):
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        loss = sum(model(torch.tensor([row]), labels=torch.tensor([row])).loss for row in rows) / len(rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_model_that_has_learnt_the_stories_chooses_right(corpus, model):
    items = choice_items(corpus, Letters(), VOCABULARY, num_items=4)
    rows = [
        sequence(item.context, item.right, direction, VOCABULARY)[0]
        for item in items
        for direction in DIRECTIONS.values()
    ]
    learn(model, rows)
    results = score_choices(model, items, VOCABULARY).results()
    assert list(results) == list(DIRECTIONS)
    for result in results.values():
        assert result.accuracy == 1.0 and 0.5 < result.low < result.high == 1.0 and result.num_items == 4


@pytest.mark.parametrize(("tied", "right", "wrong"), [(4, 0, 0), (3, 1, 0), (3, 0, 1), (1, 2, 2), (0, 1, 0)])
def test_a_tie_is_half_right(model, tied, right, wrong):
    for parameter in model.model.layers.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(model.model.embed_tokens.weight)
    torch.nn.init.zeros_(model.lm_head.weight)
    torch.nn.init.constant_(model.lm_head.weight[5], 0.1)  # token 5 is likelier than all others, which are alike
    one, likely, other = [WordIds([6], [])], [WordIds([5], [])], [WordIds([7], [])]
    pairs = [(one, one), (one, [WordIds([9], [])]), (other, one), (likely, likely)][:tied]
    pairs += [(likely, one)] * right + [(one, likely)] * wrong
    items = [ChoiceItem(str(n), "b", [WordIds([n], [])], *pair) for n, pair in enumerate(pairs)]
    found = score_choices(model, items, VOCABULARY, ["text_to_text"]).results()["text_to_text"]
    points = right + tied / 2
    assert found.num_ties == tied and found.accuracy == points / len(items)
    assert (found.low, found.high) == wilson_interval(points, len(items))


def test_equal_continuations_tie_to_the_last_bit(model):
    words = [
        [WordIds([token, (token * 7) % 40], []) for token in range(start, start + length)]
        for start, length in ((1, 3), (5, 9), (2, 5), (7, 2), (3, 11))
    ]
    items = [ChoiceItem(str(n), "b", words[0], same, same) for n, same in enumerate(words)]
    items += [ChoiceItem("5", "b", words[0], words[1], words[2])]
    for batch_tokens in (8, 40, 100):  # the pair may be cut apart by the end of a batch
        found = score_choices(model, items, VOCABULARY, ["text_to_text"], batch_tokens).results()["text_to_text"]
        assert found.num_ties == 5 and found.accuracy in (2.5 / 6, 3.5 / 6)


@pytest.mark.parametrize("end", [None, 39])
def test_answers_stop_where_documents_ended_in_training(corpus, model, end):
    vocabulary = replace(VOCABULARY, end_of_document=end)
    items = choice_items(corpus, Letters(), vocabulary, num_items=4)
    ending = [] if end is None else [end]
    rows = [
        sequence(item.context, item.right, direction, vocabulary)[0] + ending
        for item in items
        for direction in DIRECTIONS.values()
    ]
    learn(model, rows)
    results = measure_endings(model, items, vocabulary, 39, settings=GenerationSettings(greedy=True))
    assert list(results) == list(DIRECTIONS)
    for name, result in results.items():
        assert result.num_prompts == 4 and 0 <= result.low < result.high <= 1
        assert result.mean_true_tokens == (6 if name.endswith("speech") else 9)  # two units a word, letters
        assert result.limit == 4 * (6 if name.endswith("speech") else 9)
        if end is None:
            assert result.stopped == 0 and result.mean_tokens is None and result.end_probability < 0.05
        else:
            assert result.stopped == 4 and result.mean_tokens == result.mean_true_tokens
            assert result.end_probability > 0.5
    with pytest.raises(ValueError, match="items must hold at least one"):
        measure_endings(model, [], vocabulary, 39)


def test_beginnings_end_where_the_last_sentence_begins(corpus, tmp_path):
    items = choice_items(corpus, Letters(), VOCABULARY, num_items=2)
    levels = torch.arange(6).repeat_interleave(16_000) / 10  # of the seconds, each a word
    cuts = []
    for item in items[:1]:
        path = tmp_path / "audio" / f"{item.id}.wav"
        save_wav(path, levels)
        cuts.append(make_cut(item.id, path, sample_rate=16_000, num_samples=len(levels), text="", speaker=""))
    save_corpus(tmp_path / "corpus", {"train": [], "validation": [], "test": cuts}, name="c", source="", licence="")
    save_beginnings(tmp_path / "out", tmp_path / "corpus", corpus, "test", items[:1])
    written = load_waveform(tmp_path / "out" / "beginning_1.wav")
    assert len(written) == 3 * 16_000 and torch.allclose(written, levels[: len(written)], atol=1e-4)
    words = [word.word for word in next(one for one in corpus if one.id == items[0].id).words]
    told = (tmp_path / "out" / "beginning_1.txt").read_text()
    assert told == f"{' '.join(words[:3])}\n... {' '.join(words[3:])}\n"
    with pytest.raises(ValueError, match=f"corpus must hold what was tokenised, but .* has no {items[1].id}"):
        save_beginnings(tmp_path / "out", tmp_path / "corpus", corpus, "test", items)


def test_errors_name_what_is_missing(corpus, model, tmp_path):
    with pytest.raises(ValueError, match=r"at least two stories .*; 3 have no sentence ends .*; 12 are too short"):
        choice_items(corpus, Letters(), VOCABULARY, continuation_sentences=2)
    one_unit = {"units": np.array([7], np.uint16), "unit_starts": np.array([0], np.uint32)}
    write_part(tmp_path / "mute" / "test", 0, [replace(utterance, **one_unit) for utterance in corpus], "f")
    finish_folder(tmp_path / "mute" / "test", ["f"], layout=corpus.layout, provenance={})
    with pytest.raises(ValueError, match="has 0 instead; .*12 lack words or speech tokens on one side of the cut"):
        choice_items(UnitCorpus(tmp_path / "mute", "test"), Letters(), VOCABULARY)
    fewer = replace(VOCABULARY, streams=spirit_lm_streams(corpus.num_units - 1))
    with pytest.raises(ValueError, match="num_units of the speech tokenizer must be at most the language model's"):
        choice_items(corpus, Letters(), fewer)
    with pytest.raises(ValueError, match="one is 'song_to_text'"):
        score_choices(model, choice_items(corpus, Letters(), VOCABULARY), VOCABULARY, ["song_to_text"]).results()


def test_wilson_interval():
    low, high = wilson_interval(90, 100)  # 0.8256, 0.9448 in the tables
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)
    centre = sum(wilson_interval(50, 100)) / 2
    low, high = wilson_interval(50.5, 100)  # one tie more
    assert wilson_interval(50, 100)[0] < low < wilson_interval(51, 100)[0] < centre < high < wilson_interval(51, 100)[1]
    assert wilson_interval(0, 10)[0] == 0.0 and wilson_interval(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="3 of 2"):
        wilson_interval(3, 2)


def test_near_rivals_say_what_the_story_says(corpus):
    items = choice_items(corpus, Letters(), VOCABULARY, rivals="near", same_speaker=False)
    usual = choice_items(corpus, Letters(), VOCABULARY, same_speaker=False)
    assert [item.id for item in items] == [item.id for item in usual]
    animals = {f"story{index}": ANIMALS[index % len(ANIMALS)] for index in range(12)}
    assert all(animals[item.id] != animals[item.wrong_id] for item in items)


def test_a_rival_is_the_one_with_the_most_words_of_the_story(corpus, tmp_path):
    names = ("a cat came by a dog the cat ate", "the hen ate", "the dog ate", "the cow ate")
    utterances = [
        replace(
            story(0, "voice"),
            id=f"s{index}",
            words=tuple(TimedWord(word, 0.5 * i, 0.5 * i + 0.4) for i, word in enumerate(f"so {text}".split())),
            custom={"story": index, "sentence_ends": [1 if index else 6, len(text.split()) + 1]},
        )
        for index, text in enumerate(names)
    ]
    write_part(tmp_path / "near/test", 0, utterances, "f")
    layout = SpeechLayout.spirit_lm(num_units=50, frame_rate=25.0)
    finish_folder(tmp_path / "near/test", ["f"], layout=layout, provenance={})
    for seed in range(4):
        found = choice_items(UnitCorpus(tmp_path / "near", "test"), Letters(), VOCABULARY, rivals="near", seed=seed)
        assert next(item.wrong_id for item in found if item.id == "s0") == "s2"


def test_scores_of_items_are_those_of_the_results(corpus, model):
    items = choice_items(corpus, Letters(), VOCABULARY)
    scores = score_choices(model, items, VOCABULARY)
    plain, results = scores.to_dict(), scores.results()
    assert plain["ids"] == [item.id for item in items]
    assert results == score_choices(model, items, VOCABULARY).results()
    for name, result in results.items():
        assert sum(plain[name]["points"]) / len(items) == result.accuracy
        for right, wrong, one in zip(plain[name]["right"], plain[name]["wrong"], plain[name]["points"], strict=True):
            assert one in (0.0, 0.5, 1.0) and (right == wrong or one == float(right > wrong))
