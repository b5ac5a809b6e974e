"""Pairs and prompts from lines, and which continuations become pairs."""

import json
from dataclasses import replace
from operator import itemgetter

import pytest

from spiritlm_pl.conversations.template import ConversationTemplate, Side
from spiritlm_pl.generation.spirit_lm import SpiritLM
from spiritlm_pl.preferences.contract import Candidates
from spiritlm_pl.preferences.scorers import AutoBleu, Table
from spiritlm_pl.preferences.selection import CLOSE, FEW, LENGTHS, UNFINISHED, Rules, select
from spiritlm_pl.preferences.sources import encode_prompts, given_pairs
from spiritlm_pl.preferences.store import SKIPPED, store


@pytest.fixture
def model(tiny_lm) -> SpiritLM:
    network, text, vocabulary = tiny_lm
    return SpiritLM(network, text, replace(vocabulary, end_of_document=2))


def lines(*rows: dict) -> list[dict]:
    return [{"id": str(number), **row} for number, row in enumerate(rows)]


def test_strings_and_ids_become_pairs(model) -> None:
    rows = lines(
        {"prompt": "[Speech][Hu3][Hu7]", "chosen": "[Hu1][Hu2]", "rejected": "[Hu4]"},
        {"prompt": [5, 6], "chosen": [7], "rejected": [8, 9]},
        {"prompt": "the cat", "chosen": "[Speech][Hu3]", "rejected": " sat", "rejected_ends": False},
    )
    found = given_pairs(model, rows, itemgetter("prompt"), lambda value: value, "file")
    assert not found.skipped
    unit = model.vocabulary.token
    speech, ids, mixed = found.pairs
    assert list(speech.prompt) == [model.vocabulary.speech_marker, unit("unit", 3), unit("unit", 7)]
    assert list(speech.chosen) == [unit("unit", 1), unit("unit", 2), 2]
    assert list(speech.rejected) == [unit("unit", 4), 2]
    assert (ids.prompt, ids.chosen, ids.rejected) == ([5, 6], [7], [8, 9])  # as they are
    assert list(mixed.chosen) == [model.vocabulary.speech_marker, unit("unit", 3), 2]
    assert mixed.rejected[-1] != 2


def test_lines_that_give_no_pair_are_skipped_with_a_reason(model) -> None:
    bad = {
        "same tokens": {"prompt": "[Speech][Hu3]", "chosen": "[Hu1]", "rejected": "[Hu1]"},
        "there is nothing in chosen": {"prompt": "[Speech][Hu3]", "chosen": "", "rejected": "[Hu1]"},
        "nothing in rejected": {"prompt": "[Speech][Hu3]", "chosen": "[Hu1]"},
        "nothing in prompt": {"prompt": [], "chosen": [3], "rejected": [4]},
        "below 20": {"prompt": "[Speech][Hu3]", "chosen": "[Hu99]", "rejected": "[Hu1]"},
        "ids in": {"prompt": [3], "chosen": [99999], "rejected": [4]},
        "true or false": {"prompt": "the", "chosen": " cat", "rejected": " dog", "chosen_ends": "yes"},
    }
    found = given_pairs(model, lines(*bad.values()), itemgetter("prompt"), lambda value: value, "file")
    assert not found.pairs
    assert all(told in one.reason for told, one in zip(bad, found.skipped, strict=True)), found.skipped
    with pytest.raises(ValueError, match="holds x twice"):
        twice = [{"id": "x", "prompt": [3], "chosen": [4], "rejected": [5]}] * 2
        given_pairs(model, twice, itemgetter("prompt"), lambda value: value, "file")


def test_pairs_of_a_model_that_a_template_asks_are_answers(model) -> None:
    around = {"user": Side(), "assistant": Side(before="the", after="dog", given=False, ends=True)}
    asked = model.asked_by(ConversationTemplate(around))
    rows = lines({"prompt": "[Speech][Hu3]", "chosen": "a cat", "rejected": "[Speech][Hu4]", "rejected_ends": False})
    (pair,) = given_pairs(asked, rows, itemgetter("prompt"), lambda value: value, "file").pairs
    unit, text, marks = asked.vocabulary.token, asked.text_tokenizer, asked.vocabulary
    assert list(pair.prompt) == asked.encode_prompt("[Speech][Hu3]").tokens == [marks.speech_marker, unit("unit", 3)]
    begun = [marks.text_marker, *text.encode("the")]
    cat, dog = (text.encode(one, continuing=True) if text.joint else text.encode(f" {one}") for one in ("a cat", "dog"))
    assert list(pair.chosen) == [*begun, *cat, *dog, 2]
    assert list(pair.rejected) == [*begun, marks.speech_marker, unit("unit", 4)]


def test_half_a_surrogate_pair_costs_its_line_alone(model, tmp_path) -> None:
    row = {"prompt": "the", "chosen": " cat", "rejected": " dog"}
    rows = [{"id": "a", **row}, {"id": "b\ud83d", **row}]
    rows += [{**row, "id": side, side: "a \ud83d"} for side in row]
    found = given_pairs(model, rows, itemgetter("prompt"), lambda value: value, "file")
    assert [pair.id for pair in found.pairs] == ["a"]
    assert all("half a surrogate pair" in one.reason for one in found.skipped) and len(found.skipped) == 4
    store(tmp_path, found.pairs, found.skipped, model.vocabulary, None, 0.0, {})
    lines = [json.loads(line) for line in (tmp_path / SKIPPED).read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in lines] == [row["id"] for row in rows[1:]]
    prompts = encode_prompts(model, ((name, lambda: "the") for name in ("a", "b\ud83d")), "any", "file")
    assert list(prompts.prompts) == ["a"] and "half a surrogate pair" in prompts.skipped[0].reason


def candidates(*answers: str, stopped: tuple[bool, ...] | None = None) -> Candidates:
    tokens = tuple(tuple(map(ord, answer)) for answer in answers)
    return Candidates("p", (1, 2), tokens, stopped or (True,) * len(answers))


def test_the_best_and_the_worst_become_a_pair() -> None:
    given = candidates("a", "b", "c", "d")
    (pair,) = select(given, [0.1, 0.9, 0.5, None], Rules(), end=7)
    assert (pair.chosen, pair.rejected, pair.id) == ((ord("b"), 7), (ord("a"), 7), "p")
    two = select(given, [0.1, 0.9, 0.5, 0.4], Rules(pairs_per_prompt=2), end=None)
    assert [(pair.chosen, pair.rejected) for pair in two] == [((ord("b"),), (ord("a"),)), ((ord("c"),), (ord("d"),))]
    assert len({pair.id for pair in two}) == 2


@pytest.mark.parametrize(
    ("given", "scores", "rules", "reason"),
    [
        (candidates("a", "b"), [0.3, 0.3], Rules(), CLOSE),
        (candidates("a", "b"), [0.3, 0.5], Rules(margin=0.3), CLOSE),
        (candidates("a", "a"), [0.3, 0.5], Rules(), FEW),
        (candidates("a", "b"), [0.3, None], Rules(), FEW),
        (candidates("a", ""), [0.3, 0.5], Rules(), FEW),
        (candidates("a", "b", stopped=(True, False)), [0.3, 0.5], Rules(), UNFINISHED),
        (candidates("a", "bbbb"), [0.3, 0.5], Rules(length_ratio=2), LENGTHS),
    ],
)
def test_prompts_without_a_pair_have_a_reason(given, scores, rules, reason) -> None:
    assert select(given, scores, rules, end=7) == reason


def test_an_answer_that_was_cut_off_has_no_end() -> None:
    given = candidates("a", "b", stopped=(True, False))
    (pair,) = select(given, [0.3, 0.5], Rules(only_stopped=False), end=7)
    assert (pair.chosen, pair.rejected) == ((ord("b"),), (ord("a"), 7))


def test_similar_lengths_are_preferred_to_the_worst_score() -> None:
    (pair,) = select(candidates("aaaa", "b", "ccc"), [0.9, 0.1, 0.5], Rules(length_ratio=1.5), end=None)
    assert pair.rejected == tuple(map(ord, "ccc"))


def test_auto_bleu_prefers_what_does_not_repeat_itself(model) -> None:
    units = [model.vocabulary.token("unit", unit) for unit in range(6)]
    words = model.text_tokenizer.encode("the cat sat the cat sat")
    given = Candidates("p", (1,), (tuple(units), tuple(units[:2] * 3), tuple(words), (units[0],)), (True,) * 4)
    ((fresh, again, text, short),) = AutoBleu()(model, [given])
    assert fresh == 0 and again == -1 and short is None
    assert text == pytest.approx(-(0.8**0.5))  # all words, and four of the five pairs of words, occur twice
    with pytest.raises(ValueError, match="size"):
        AutoBleu(0)


def test_a_table_of_people(tmp_path, model) -> None:
    path = tmp_path / "answers.csv"
    given = candidates("a", "b")
    first, second = given.digests
    path.write_text(f"id,answer,score,text,digest\np,1,4,hello,{first}\np,2,,there,{second}\nq,1,2.5,you,x7\n")
    assert Table(str(path))(model, [given]) == [[4.0, None]]
    for others in (candidates("c", "b"), candidates("b", "a"), replace(given, prompt=(1, 3)), candidates()):
        with pytest.raises(ValueError, match=r"answers.csv scores another answer 1 of p: .* or move it away$"):
            Table(str(path))(model, [others])
    for content, told in (
        ("id,answer\np,1\n", "columns id, answer, score, digest"),
        ("id,answer,score\np,1,2\n", "lacks digest"),
        ("id,answer,score,digest\np,1,good,x1\n", "number"),
        ("id,answer,score,digest\np,1,,x1\n", "filled in"),
        ("id,answer,score,digest\np,1,2,x1\np,1,3,x1\n", "twice"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=told):
            Table(str(path))


@pytest.mark.parametrize("options", [{"margin": -1}, {"pairs_per_prompt": 0}, {"length_ratio": 0.5}])
def test_rules_out_of_range_are_refused(options) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Rules(**options)
