"""Hard stories have more to choose from, and name again at their end what was named before a gap."""

import pytest

from spiritlm_pl.corpora.synthetic import stories as easy
from spiritlm_pl.corpora.synthetic.hard_stories import ANIMALS, PLACES, THINGS
from spiritlm_pl.corpora.synthetic.stories import write_stories


@pytest.fixture(scope="module")
def stories() -> list[easy.Story]:
    return write_stories(300, 5, "hard")


def test_stories_are_distinct_and_a_larger_count_only_adds(stories: list[easy.Story]) -> None:
    assert len({story.text for story in stories}) == len({story.id for story in stories}) == 300
    assert write_stories(20, 5, "hard") == stories[:20]
    assert stories[0].id.startswith("hard-story-5-")
    assert not {story.id for story in stories} & {story.id for story in write_stories(20, 5)}


def test_the_ending_names_what_was_named_before_and_the_place_long_before(stories: list[easy.Story]) -> None:
    for story in stories:
        *before, ending = [sentence.strip(".").split() for sentence in story.sentences]
        assert {story.animal, story.place, story.thing} <= {*ending}
        assert story.animal in before[0] and story.place in before[0] and story.thing in before[1]
        assert story.place not in {word for sentence in before[1:] for word in sentence}
        assert not {story.animal, story.place, story.thing} & {*before[-1]}  # the gap
        assert story.sentence_ends[-1] == len(story.text.split())


def test_there_is_more_to_choose_from() -> None:
    for hard, usual in ((ANIMALS, easy.ANIMALS), (PLACES, easy.PLACES), (THINGS, easy.THINGS)):
        assert len(set(hard)) == len(hard) > len(usual)
