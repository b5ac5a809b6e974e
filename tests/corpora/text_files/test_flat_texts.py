"""White space of many texts at a time is that of each text."""

from unittest.mock import patch

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from spiritlm_pl.corpora.text_files import flat_texts
from spiritlm_pl.corpora.text_files.flat_texts import LIKE_SPACES, WHITE_SPACE, FlatTexts

CHARACTERS = st.one_of(
    st.sampled_from([*WHITE_SPACE, *LIKE_SPACES, *"ab.é—“ж你😀\x80\xc2"]), st.characters(codec="utf-8")
)
TEXTS = st.lists(st.text(CHARACTERS, max_size=12), max_size=6)


def flat(texts: list[str]) -> FlatTexts:
    return FlatTexts.of(pa.array(["before", *texts], pa.large_string()).slice(1))


@given(TEXTS)
def test_white_space_becomes_single_spaces(texts: list[str]) -> None:
    found = [bytes(text).decode() for text in flat(texts).with_single_spaces()]
    assert found == [" ".join(text.split()) for text in texts]


@given(TEXTS)
def test_bytes_of_white_space_and_of_characters_are_found(texts: list[str]) -> None:
    made, joined = flat(texts), "".join(texts)
    assert made.are_spaces().tolist() == [char.isspace() for char in joined for _ in char.encode()]
    like_spaces = [char.isspace() or char in LIKE_SPACES for char in joined for _ in char.encode()]
    assert made.are_like_spaces().tolist() == like_spaces
    assert made.having(ord("a")).tolist() == ["a" in text for text in texts]
    assert [bytes(text).decode() for text in made] == texts


@given(texts=TEXTS, size=st.integers(1, 20))
def test_parts_hold_the_texts_in_their_order(texts: list[str], size: int) -> None:
    with patch.object(flat_texts, "CACHED", size):
        parts = [[bytes(text).decode() for text in part] for part in flat(texts).parts()]
    assert sum(parts, []) == texts
    assert all(len(part) == 1 or len("".join(part).encode()) <= size for part in parts)
    following = zip(parts, parts[1:], strict=False)
    assert all(len("".join([*part, after[0]]).encode()) > size for part, after in following)  # none could hold more
