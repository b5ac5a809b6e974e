"""Names become labels; what is no label is refused by name."""

import pytest

from spiritlm_pl.benchmarks.stsp.labels import OTHER, LabelMap


def test_names_of_emotions_are_sentiments() -> None:
    names = LabelMap()
    for name, label in (
        ("happy", "positive"),
        ("Amused", "positive"),
        ("ANGRY", "negative"),
        ("sad", "negative"),
        ("default", "neutral"),
        ("neutral", "neutral"),
        (" positive ", "positive"),
    ):
        assert names.label(name) == label
    assert names.label("whisper") is None and names.label(None) is None and names.label(True) is None
    own = LabelMap("sentiment", {"LABEL_0": "negative", "Happy": "neutral", "surprise": None, 1: "positive"})
    assert [own.label(name) for name in ("label_0", "happy", "surprise", "1")] == [
        "negative",
        "neutral",
        OTHER,
        "positive",
    ]
    emotions = LabelMap("emotion", {"amused": "happy"})
    assert emotions.label("Amused") == "happy" and emotions.label("Sleepy") == "sleepy" and emotions.label("") is None


def test_a_judge_with_other_classes_is_refused_by_name() -> None:
    wanted = ("negative", "neutral", "positive")
    LabelMap().check_classes(("happy", "sad", "default"), wanted, "judge")
    LabelMap("sentiment", {"x": None}).check_classes(("happy", "sad", "default", "x"), wanted, "judge")
    with pytest.raises(ValueError, match="classes LABEL_0, LABEL_1: map LABEL_0, LABEL_1 by"):
        LabelMap().check_classes(("LABEL_0", "LABEL_1"), wanted, "judge")
    with pytest.raises(ValueError, match="none of its classes happy, sad is neutral"):
        LabelMap().check_classes(("happy", "sad"), wanted, "judge")
    LabelMap("emotion").check_classes(("happy", "sad", "more"), ("happy",), "judge")
    with pytest.raises(ValueError, match="none of its classes happy is amused"):
        LabelMap("emotion").check_classes(("happy",), ("amused",), "judge")


@pytest.mark.parametrize(
    ("kind", "own", "message"),
    [
        ("mood", {}, "label must be sentiment or emotion"),
        ("sentiment", {"joy": "good"}, "'joy' is mapped to 'good'"),
        ("emotion", {"joy": 3}, "map 'joy' to 3"),
        ("sentiment", ["joy"], "must be a map"),
    ],
)
def test_bad_maps(kind, own, message) -> None:
    with pytest.raises(ValueError, match=message):
        LabelMap(kind, own)
