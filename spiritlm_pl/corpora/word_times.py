"""Transfer of word times from any source to the words of a transcript, with checks.

The two may be split differently: "42" may be aligned as "forty two", "at the" as one word, "it's" as "it" and "'s".
Both are therefore read as the letters that are said, and the shortest stretches with equal letters share their time.
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
UNKNOWN = frozenset({"<unk>", "[unk]", "spn"})  # labels of words that the aligner did not know, lower case


@dataclass(frozen=True)
class AlignedWord(Word):
    """A word (or phone) with its times in seconds and a score in [0, 1]; None if the aligner gives no scores."""

    score: float | None = None


def is_silence(label: str) -> bool:
    """Return whether a label is one that common tools use for silence."""
    return label.strip().lower() in SILENCES


class AlignmentError(ValueError):
    """Error for an utterance that cannot be aligned; the message says why."""


@dataclass(frozen=True)
class _Piece:
    """A written token or an aligned word, with the letters that are said for it; None as letters fits any token."""

    text: str
    letters: str | None


def _letters(words: Sequence[str]) -> str:
    return "".join(words).replace("'", "")


def _read_together(words: Sequence[Word], language: str) -> Iterator[tuple[list[Word], str]]:
    """Yield aligned words with the letters said for them; words of one expression ("$5", "million") come together."""
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
    """Return the aligned words that are said, and their letters."""
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
    """Yield the ends (i, j) of stretches in which tokens up to i and aligned words up to j say the same letters.

    Raises:
        AlignmentError: at the first place where the two differ.
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
    """Yield the tokens of each stretch, with the stretch's text, time and lowest score as one word."""
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
    """Return each spoken word with its time; an aligned word that spans several ("42") is divided by their letters.

    Args:
        spoken: words as they are said.
        words: aligned words, whose spelling may differ.
        language: language of both, as a code such as "en".

    Raises:
        AlignmentError: if the two say different things, or there are no words.
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
    """Fit consecutive words into [0, duration] seconds, clipping times that are up to `TOLERANCE` off.

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
    """Return written tokens with the times of the words that are said for them, all within the cut.

    Args:
        tokens: written tokens with their spoken words, as `written_tokens` returns them.
        words: one timed word for each word that is said, in order.
        duration: duration of the cut in seconds.

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
