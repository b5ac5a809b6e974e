"""Which tokens end and open documents."""

import pytest

from spiritlm_pl.data.block_vocabulary import delimiters


class Delimiters:
    """What `delimiters` asks of a text tokenizer."""

    def __init__(self, bos: int | None, eos: int | None, opening: tuple[int, ...] = ()) -> None:
        self.bos_id, self.eos_id, self.opening = bos, eos, opening


OURS, ENDLESS, PUBLISHED = Delimiters(1, 2), Delimiters(None, None), Delimiters(1, 2, (1, 9))


@pytest.mark.parametrize(
    ("tokenizer", "end", "begin", "expected"),
    [
        (OURS, None, None, (2, None)),
        (OURS, False, None, (None, None)),
        (OURS, True, True, (2, 1)),
        (ENDLESS, None, None, (None, None)),
        (PUBLISHED, None, None, (None, None)),
        (PUBLISHED, True, None, (2, None)),
        (
            ENDLESS,
            True,
            None,
            "end_of_document must be false where the text tokenizer has no token for it, but is true",
        ),
        (ENDLESS, None, True, "begin_of_document must be false where the text tokenizer has no token for it"),
        (PUBLISHED, None, True, "begin_of_document must be false for a published model, but is true for folder"),
    ],
)
def test_documents_end_where_the_tokenizer_has_an_end(tokenizer, end, begin, expected) -> None:
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            delimiters(None, tokenizer, "folder", end, begin)
    else:
        assert tuple(delimiters(None, tokenizer, "folder", end, begin).values()) == expected
