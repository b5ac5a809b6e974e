"""Word times of any source laid on the words of a transcript, and checked.

The two need not be split alike: "42" may be aligned as "forty two", "at the" as one word, "it's" as "it"
and "'s". Both are read as the letters that are said, and the smallest stretches that agree share their time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.text.transcripts import clean_transcript, readings

TOLERANCE = 0.05  # seconds by which words may pass the ends of a cut, or each other, and are clipped
SILENCES = frozenset(
    {"", "sil", "sp", "pau", "<eps>", "<sil>", "<p>", "<p:>", "<b>", "<space>", "#", "h#"}
)  # lower case
UNKNOWN = frozenset({"<unk>", "[unk]", "spn"})  # a word that the aligner did not know, lower case


@dataclass(frozen=True)
class AlignedWord(Word):
    """A word (or phone) with its times in seconds and, where the aligner tells, how sure it is in [0, 1]."""

    score: float | None = None


def is_silence(label: str) -> bool:
    """Whether a label stands for no sound, as far as the common tools go."""
    return label.strip().lower() in SILENCES


class AlignmentError(ValueError):
    """An utterance that cannot be aligned; the message says why."""


@dataclass(frozen=True)
class _Piece:
    """A written token or an aligned word, with the letters said for it; None fits any one token."""

    text: str
    letters: str | None


def _letters(words: Sequence[str]) -> str:
    return "".join(words).replace("'", "")


def _read_together(words: Sequence[Word], language: str) -> Iterator[tuple[list[Word], str]]:
    """Aligned words with the letters said for them; those of one expression ("$5", "million") as one."""
    parts = [(index, part) for index, word in enumerate(words) for part in clean_transcript(word.text).split()]
    owners = [index for index, _ in parts]
    place = 0
    members: list[int] = []
    letters = ""
    for reading in readings(" ".join(part for _, part in parts), language):
        own = owners[place : place + reading.written.count(" ") + 1]
        place += len(own)
        if members and own and own[0] != members[-1]:
            yield [words[index] for index in dict.fromkeys(members)], letters
            members, letters = [], ""
        members += own
        letters += _letters(reading.words)
    if members:
        yield [words[index] for index in dict.fromkeys(members)], letters


def _aligned_pieces(words: Sequence[Word], language: str) -> tuple[list[Word], list[_Piece]]:
    """Aligned words that are said, and their letters."""
    kept: list[Word] = []
    pieces = []
    sounds = [word for word in words if not is_silence(word.text)]
    for unknown, group in groupby(sounds, lambda word: word.text.lower() in UNKNOWN):
        run = list(group)
        groups = [([word], None) for word in run] if unknown else _read_together(run, language)
        for members, letters in groups:
            if letters != "":
                text = " ".join(word.text for word in members)
                kept.append(AlignedWord(text, members[0].start, members[-1].end, _lowest_score(members)))
                pieces.append(_Piece(text, letters))
    return kept, pieces


def _stretches(tokens: list[_Piece], aligned: list[_Piece]) -> Iterator[tuple[int, int]]:
    """Ends (i, j) of stretches: tokens up to i say what aligned words up to j say.

    Raises:
        AlignmentError: with the first place where they differ.
    """
    i = j = 0
    while i < len(tokens) and j < len(aligned):
        first_i, first_j = i, j
        left, right = tokens[i].letters, aligned[j].letters
        i, j = i + 1, j + 1
        while right is not None and left != right:
            assert left is not None
            differ = not (left.startswith(right) or right.startswith(left))
            longer_left = len(left) > len(right)
            following = aligned[j : j + 1] if longer_left else tokens[i : i + 1]
            if differ or not following or following[0].letters is None:
                raise AlignmentError(
                    f"word {first_i + 1} of the transcript is {tokens[first_i].text!r}, "
                    f"but is {aligned[first_j].text!r} in the alignment"
                )
            if longer_left:
                right, j = right + following[0].letters, j + 1
            else:
                left, i = left + following[0].letters, i + 1
        yield i, j
    if i < len(tokens):
        raise AlignmentError(f"alignment ends before word {i + 1} of the transcript, {tokens[i].text!r}")
    if j < len(aligned):
        raise AlignmentError(f"alignment goes on after the transcript, with {aligned[j].text!r}")


def _match(tokens: list[_Piece], words: Sequence[Word], language: str) -> Iterator[tuple[list[_Piece], AlignedWord]]:
    """Tokens of each stretch, with its text, time, and lowest score."""
    if not tokens:
        raise AlignmentError("transcript has no words")
    words, aligned = _aligned_pieces(words, language)
    i = j = 0
    for next_i, next_j in _stretches(tokens, aligned):
        members, group = tokens[i:next_i], words[j:next_j]
        text = " ".join(token.text for token in members)
        yield members, AlignedWord(text, group[0].start, group[-1].end, _lowest_score(group))
        i, j = next_i, next_j


def spoken_times(spoken: Sequence[str], words: Sequence[Word], language: str = "en") -> list[Word]:
    """Each spoken word with its time; where aligned words span several ("42"), by shares of their letters.

    Args:
        spoken: words as they are said.
        words: aligned words, which may be written otherwise.
        language: of both.

    Raises:
        AlignmentError: if the two say different things, or nothing is said.
    """
    timed: list[Word] = []
    for members, whole in _match([_Piece(word, _letters([word])) for word in spoken], words, language):
        letters = [len(member.letters or "") for member in members]
        per_letter = (whole.end - whole.start) / max(1, sum(letters))
        edges = [whole.start + per_letter * sum(letters[:n]) for n in range(len(members))]
        timed += [
            AlignedWord(member.text, start, end, whole.score)
            for member, start, end in zip(members, edges, [*edges[1:], whole.end], strict=True)
        ]
    return timed


def fit_times(words: Sequence[Word], duration: float) -> list[Word]:
    """Words one after the other within [0, duration] seconds; what passes by up to `TOLERANCE` is clipped.

    Raises:
        AlignmentError: if a word lies outside, overlaps the one before, or ends before it starts.
    """
    fitted: list[Word] = []
    for word in words:
        times = f"{word.text!r} lies at {word.start:.3f} to {word.end:.3f} s"
        if word.start < -TOLERANCE or word.end > duration + TOLERANCE:
            raise AlignmentError(f"{times}, outside of the cut of {duration:.3f} s")
        previous = fitted[-1].end if fitted else 0.0
        if word.start < previous - TOLERANCE:
            raise AlignmentError(f"{times}, before {fitted[-1].text!r} ends at {previous:.3f} s")
        start, end = max(word.start, previous), min(word.end, duration)
        if end <= start:
            raise AlignmentError(f"{times}, without any time of its own")
        fitted.append(replace(word, start=start, end=end))
    return fitted


def token_times(tokens: Sequence[tuple[str, list[str]]], words: Sequence[Word], duration: float) -> list[Word]:
    """Written tokens (with the words said for each) timed by those words, all of them within the cut.

    Args:
        tokens: of `written_tokens`.
        words: one for each word that is said, in order.
        duration: of the cut, in seconds.

    Raises:
        AlignmentError: if times lie outside of the cut or run backwards.
    """
    timed: list[Word] = []
    position = 0
    for token, said in tokens:
        group = words[position : position + len(said)]
        timed.append(AlignedWord(token, group[0].start, group[-1].end, _lowest_score(group)))
        position += len(said)
    return fit_times(timed, duration)


def _lowest_score(words: Sequence[Word]) -> float | None:
    scores = [word.score for word in words if isinstance(word, AlignedWord) and word.score is not None]
    return min(scores, default=None)
