"""Stories and sentences for benchmarks: from a text file, or of the built-in grammar.

A file holds a story a line or, if it has empty lines, a story a paragraph. A line of a paragraph that begins with `*`
is a wrong ending of that story.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import regex

from spiritlm_pl.benchmarks.make.settings import Settings, read_file
from spiritlm_pl.benchmarks.make.speaking import check_sayable
from spiritlm_pl.corpora.synthetic.spoken_texts import LONGEST_SENTENCE
from spiritlm_pl.corpora.synthetic.stories import write_stories
from spiritlm_pl.corpora.text.transcripts import split_sentences

WRONG = "*"


@dataclass(frozen=True)
class Tale:
    """A story that can be told with a right and a wrong ending.

    Attributes:
        beginning: text up to the last sentence.
        ending: its last sentence.
        wrong: ending that contradicts it; None if there is none.
        words: words that must not be those of a story whose ending is a wrong one for this, such as its animal.
    """

    beginning: str
    ending: str
    wrong: str | None = None
    words: tuple[str, ...] = ()


def read_tales(path: Path, language: str) -> list[Tale]:
    """Read the stories of a file.

    Raises:
        ValueError: if a story has fewer than two sentences or more than one wrong ending, or cannot be said.
    """
    text = read_file(path, "stories").strip()
    blocks = regex.split(r"\n[^\S\n]*\n\s*", text) if regex.search(r"\n[^\S\n]*\n", text) else text.split("\n")
    tales = [_read_tale(block, path, language) for block in blocks if block.strip()]
    if len({(tale.beginning, tale.ending) for tale in tales}) < len(tales):
        raise ValueError(f"stories must all be different, but {path} holds one twice")
    return tales


def _read_tale(block: str, path: Path, language: str) -> Tale:
    lines = [line.strip() for line in block.split("\n")]
    wrong = [line.removeprefix(WRONG).strip() for line in lines if line.startswith(WRONG)]
    told = " ".join(line for line in lines if not line.startswith(WRONG))
    sentences = split_sentences(told)
    if len(sentences) < 2 or len(wrong) > 1:
        raise ValueError(
            f"stories must have two sentences or more and at most one wrong ending, but {path} has {told!r} with "
            f"{len(sentences)} and {len(wrong)}"
        )
    for sentence in [*sentences, *wrong]:
        check_sayable(sentence, language, str(path))
    if wrong and wrong[0] == sentences[-1]:
        raise ValueError(f"right and wrong endings must differ, but both are {wrong[0]!r} in {path}")
    return Tale(" ".join(sentences[:-1]), sentences[-1], wrong[0] if wrong else None)


def sentences_for(settings: Settings) -> list[str]:
    """Return different sentences: those of the stories' file, or of the built-in stories in random order.

    Raises:
        ValueError: if the file holds none, or one that cannot be said or is too long.
    """
    if settings.stories is None:
        settings.needs_english("stories")
        stories = write_stories(max(200, 2 * settings.count), settings.seed)
        return list(dict.fromkeys(sentence for story in stories for sentence in story.sentences))
    lines = [line.removeprefix(WRONG) for line in read_file(settings.stories, "stories").splitlines()]
    found = list(dict.fromkeys(split_sentences("\n".join(lines))))
    for sentence in found:
        check_sayable(sentence, settings.language, str(settings.stories))
        if len(sentence.split()) > LONGEST_SENTENCE:
            raise ValueError(
                f"stories must have sentences of at most {LONGEST_SENTENCE} words, but {settings.stories} has one that "
                f"begins {' '.join(sentence.split()[:5])!r}: end sentences with a full stop or an empty line"
            )
    if not found:
        raise ValueError(f"stories must hold sentences, but {settings.stories} has none instead")
    return found


def swap_endings(tales: Sequence[Tale]) -> list[int]:
    """Return for each story the one whose ending it is given.

    Each ending is given once, so that none is likelier to be a wrong one. Stories whose endings are about as long swap
    them, unless they share a word of `words` or their endings are the same.

    Raises:
        ValueError: if no story can swap with any other.
    """
    order = sorted(range(len(tales)), key=lambda place: (len(tales[place].ending), place))
    given: dict[int, int] = {}
    for position, one in enumerate(order):
        if one in given:
            continue
        partner = next(
            (two for two in order[position + 1 :] if two not in given and _fit(tales[one], tales[two])), None
        )
        if partner is not None:
            given[one], given[partner] = partner, one
    for one in order:
        if one not in given:
            _put_into_cycle(one, given, tales)
    return [given[place] for place in range(len(tales))]


def _put_into_cycle(one: int, given: dict[int, int], tales: Sequence[Tale]) -> None:
    """Give a story that is left the ending of another, which takes its own."""
    for taker, source in sorted(
        given.items(), key=lambda item: abs(len(tales[item[1]].ending) - len(tales[one].ending))
    ):
        if _fit(tales[one], tales[source]) and _fit(tales[taker], tales[one]):
            given[one], given[taker] = source, one
            return
    raise ValueError(f"stories must have endings that others can take, but {tales[one].ending!r} fits with none")


def _fit(one: Tale, two: Tale) -> bool:
    return one.ending != two.ending and not set(one.words) & set(two.words)
