"""From an alignment to a cut: match aligned words to the transcript's, check times, put both in the cut.

The two need not be split alike: "42" may be aligned as "forty two", "at the" as one word, "it's" as "it"
and "'s". Both are read as the letters that are said, and the smallest stretches that agree become words of
the cut, as they are written in the transcript. What does not agree gives a reason, not an exception: one
bad utterance must not end a corpus.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from lhotse import MonoCut
from lhotse.supervision import AlignmentItem
from lhotse.utils import fastcopy

from spiritlm_pl.alignment.contract import Aligned, AlignmentError
from spiritlm_pl.alignment.words import UNKNOWN, AlignedWord, is_silence, score_of
from spiritlm_pl.corpora.manifest import Word
from spiritlm_pl.corpora.transcripts import clean_transcript, spoken_words, written_tokens

TOLERANCE = 0.05  # seconds by which words may pass the ends of a cut, or each other, and are clipped
_WORD_KEYS = ("word", "words")
_PHONE_KEYS = ("phone", "phones", "phoneme", "phonemes")


@dataclass(frozen=True)
class _Piece:
    """A written token or an aligned word, with the letters said for it; None fits any one token."""

    text: str
    letters: str | None


def _letters(words: Sequence[str]) -> str:
    return "".join(words).replace("'", "")


def _transcript_pieces(text: str) -> list[_Piece]:
    spoken, tokens = spoken_words(text), written_tokens(clean_transcript(text))
    if [word for _, words in tokens for word in words] == spoken:
        return [_Piece(token, _letters(words)) for token, words in tokens]
    return [_Piece(word, _letters([word])) for word in spoken]  # said in another order: $ 5


def _aligned_pieces(words: Sequence[Word]) -> tuple[list[Word], list[_Piece]]:
    """Aligned words that are said, and their letters."""
    kept, pieces = [], []
    for word in words:
        unknown = word.text.lower() in UNKNOWN
        letters = None if unknown else _letters(spoken_words(word.text))
        if letters != "" and not is_silence(word.text):
            kept.append(word)
            pieces.append(_Piece(word.text, letters))
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


def _match(tokens: list[_Piece], words: Sequence[Word]) -> Iterator[tuple[list[_Piece], AlignedWord]]:
    """Tokens of each stretch, with its text, time, and lowest score."""
    if not tokens:
        raise AlignmentError("transcript has no words")
    words, aligned = _aligned_pieces(words)
    i = j = 0
    for next_i, next_j in _stretches(tokens, aligned):
        members, group = tokens[i:next_i], words[j:next_j]
        scores = [score for score in map(score_of, group) if score is not None]
        text = " ".join(token.text for token in members)
        yield members, AlignedWord(text, group[0].start, group[-1].end, min(scores, default=None))
        i, j = next_i, next_j


def match_words(text: str, words: Sequence[Word]) -> list[AlignedWord]:
    """Words of a transcript, as written, with the times of aligned words; the score of a group is its lowest.

    Raises:
        AlignmentError: if the two say different things, or the transcript says nothing.
    """
    return [matched for _, matched in _match(_transcript_pieces(text), words)]


def spoken_times(spoken: Sequence[str], words: Sequence[Word]) -> list[Word]:
    """Each spoken word with its time; where aligned words span several ("42"), by shares of their letters.

    Raises:
        AlignmentError: if the two say different things, or nothing is said.
    """
    timed: list[Word] = []
    for members, whole in _match([_Piece(word, _letters([word])) for word in spoken], words):
        letters = [len(member.letters or "") for member in members]
        per_letter = (whole.end - whole.start) / max(1, sum(letters))
        edges = [whole.start + per_letter * sum(letters[:n]) for n in range(len(members))]
        timed += [
            AlignedWord(member.text, start, end, whole.score)
            for member, start, end in zip(members, edges, [*edges[1:], whole.end], strict=True)
        ]
    return timed


def fit_times(words: Sequence[Word], duration: float, tolerance: float = TOLERANCE) -> list[Word]:
    """Words one after the other within [0, duration] seconds; what passes by up to `tolerance` is clipped.

    Raises:
        AlignmentError: if a word lies outside, overlaps the one before, or ends before it starts.
    """
    fitted: list[Word] = []
    for word in words:
        times = f"{word.text!r} lies at {word.start:.3f} to {word.end:.3f} s"
        if word.start < -tolerance or word.end > duration + tolerance:
            raise AlignmentError(f"{times}, outside of the cut of {duration:.3f} s")
        previous = fitted[-1].end if fitted else 0.0
        if word.start < previous - tolerance:
            raise AlignmentError(f"{times}, before {fitted[-1].text!r} ends at {previous:.3f} s")
        start, end = max(word.start, previous), min(word.end, duration)
        if end <= start:
            raise AlignmentError(f"{times}, without any time of its own")
        fitted.append(replace(word, start=start, end=end))
    return fitted


def within(items: Sequence[Word], start: float, duration: float) -> list[Word]:
    """Items of a recording whose middle lies in [start, start + duration), with times from `start`."""
    return [
        replace(item, start=item.start - start, end=item.end - start)
        for item in items
        if start <= (item.start + item.end) / 2 < start + duration
    ]


def cut_alignment(cut: MonoCut) -> Aligned:
    """The alignment that a cut of lhotse already has (word and phone tiers under their usual names).

    Raises:
        AlignmentError: if it has none of words.
    """
    tiers = cut.supervisions[0].alignment or {}
    words = _from_items(next((tiers[key] for key in _WORD_KEYS if key in tiers), []))
    if not words:
        raise AlignmentError("cut has no word alignment")
    return Aligned(words, _from_items(next((tiers[key] for key in _PHONE_KEYS if key in tiers), [])))


def _from_items(items: Sequence[AlignmentItem]) -> list[Word]:
    labelled = (item for item in items if not is_silence(item.symbol))
    return [AlignedWord(item.symbol, item.start, item.start + item.duration, item.score) for item in labelled]


def _to_items(words: Sequence[Word]) -> list[AlignmentItem]:
    return [AlignmentItem(w.text, round(w.start, 4), round(w.end - w.start, 4), score_of(w)) for w in words]


def attach_alignment(
    cut: MonoCut, aligned: Aligned, *, of_recording: bool = False, tolerance: float = TOLERANCE
) -> MonoCut | str:
    """The cut with these words and phones in its supervision, or the reason why they do not fit.

    Args:
        cut: a cut with one supervision and its transcript.
        aligned: words and, where known, phones.
        of_recording: times count from the start of the recording (TextGrid and CTM files), of which this cut
            may be a part; else from the start of the cut.
        tolerance: seconds by which words may pass the ends of the cut, or each other, and are clipped.

    Returns:
        the cut, or a reason of one line.
    """
    if len(cut.supervisions) != 1:
        return f"cut must have one supervision, but has {len(cut.supervisions)} instead"
    supervision = cut.supervisions[0]
    words, phones = aligned.words, aligned.phones
    if of_recording:
        words = within(words, cut.start, cut.duration)
        phones = within(phones, cut.start, cut.duration)
    try:
        tiers = {
            "word": _to_items(fit_times(match_words(supervision.text or "", words), cut.duration, tolerance)),
            "phone": _to_items(fit_times(phones, cut.duration, tolerance)),
        }
    except AlignmentError as error:
        return str(error)
    present = {kind: items for kind, items in tiers.items() if items}
    return fastcopy(cut, supervisions=[fastcopy(supervision, alignment=present)])
