"""Spoken StoryCloze and Topic StoryCloze: the right ending of a story beside a wrong one.

Layouts, told apart by themselves:

    flat         <n>_<story>_correct.{wav,txt} and <n+1>_<story>_incorrect.{wav,txt}: whole stories
    hub          Parquet files in a folder a speaker: id, correct_text, correct_audio, negative_text, negative_audio
    cross-modal  <base>_{mutual,correct,incorrect}.{wav,txt}, in a folder a voice: beginnings apart (slamkit)

From whole stories, texts are cut after the sentences that both share. Recordings are cut by word times where the other
side is text. Whole stories of speech alone stay whole: a beginning that is common to both must be cut from one of the
two recordings, and the model would hear which ending is from the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from spiritlm_pl.benchmarks.items import ChoiceItem, Labels, Reading
from spiritlm_pl.benchmarks.readers.files import files_by_folder, unique_name
from spiritlm_pl.benchmarks.readers.stories import Kind, Stories, Story, read_stories
from spiritlm_pl.benchmarks.readers.word_cuts import WordTimes, cut_audio, shared_words, split_text
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.evaluation.choice import DIRECTIONS
from spiritlm_pl.generation.types import Piece, Speech, Text
from spiritlm_pl.vocabulary import Modality

_Pieces = tuple[Piece, ...]


def read(
    folder: str | Path,
    direction: str = "speech_to_speech",
    word_times: str | Path | None = None,
    cache: str | Path | None = None,
    kind: Kind | None = None,
) -> Reading:
    """Read stories.

    Args:
        folder: folder of the stories, or one above it.
        direction: modality of the beginning and of the ending: text_to_text, speech_to_speech, speech_to_text or
            text_to_speech.
        word_times: corpus folder of these recordings with word times, as `spiritlm align` leaves it, by which whole
            stories are cut; None if beginnings and endings lie apart, or are not cut.
        cache: folder to which audio in Parquet files and cuts of recordings are written; None if there are none.
        kind: benchmark that is read where a folder holds both: spoken or topic; None for the only one.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it has no known layout, holds another benchmark, or what the direction needs is missing; the
            message says what.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, but is {direction!r} instead")
    context, hypothesis = DIRECTIONS[direction]
    files = files_by_folder(folder)
    wanted = frozenset((context, hypothesis))
    found = read_stories(Path(folder), files, wanted, None if cache is None else Path(cache), kind)
    build = _builder(found, context, hypothesis, word_times, cache)
    items: list[ChoiceItem] = []
    skipped = list(found.skipped)
    said: set[tuple[str, str | None, str | None]] = set()
    seen: dict[str, int] = {}
    for story in found.stories:
        texts = (story.id, story.right_text, story.wrong_text)
        if wanted == {Modality.TEXT} and texts in said:
            continue  # read by another speaker
        said.add(texts)
        story = replace(story, name=unique_name(story.name, seen))
        try:
            items.append(build(story))
        except (ValueError, FileNotFoundError) as error:
            skipped.append(Skipped(story.name, str(story.path), f"story {story.name} cannot be used: {error}"))
    if not items:
        why = f": {skipped[0].reason}" if skipped else ""
        raise ValueError(f"{folder} must hold stories that can be read, but holds none{why}")
    return Reading(items, found.layout, skipped, [*found.notes, *_notes(found, items, context, hypothesis, word_times)])


def read_spoken(
    folder: str | Path,
    direction: str = "speech_to_speech",
    word_times: str | Path | None = None,
    cache: str | Path | None = None,
) -> Reading:
    """Read StoryCloze as `read` does, of a folder that may hold Topic StoryCloze as well."""
    return read(folder, direction, word_times, cache, "spoken")


def read_topic(
    folder: str | Path,
    direction: str = "speech_to_speech",
    word_times: str | Path | None = None,
    cache: str | Path | None = None,
) -> Reading:
    """Read Topic StoryCloze as `read` does, of a folder that may hold StoryCloze as well."""
    return read(folder, direction, word_times, cache, "topic")


def _notes(
    found: Stories, items: list[ChoiceItem], context: Modality, hypothesis: Modality, word_times: str | Path | None
) -> list[str]:
    if found.apart or context is not hypothesis:
        return []
    if hypothesis is Modality.SPEECH:
        ignored = "; word times are not used" if word_times is not None else ""
        return [f"recordings of whole stories are scored from their beginning{ignored}"]
    whole = sum(not item.context for item in items)
    return [f"{whole} stories share no first sentence and are scored from their beginning"] if whole else []


def _builder(
    found: Stories, context: Modality, hypothesis: Modality, word_times: str | Path | None, cache: str | Path | None
) -> Callable[[Story], ChoiceItem]:
    """Return a function that makes an item of a story, or raises a ValueError that says why it cannot."""
    if found.apart:
        return lambda story: _of_parts(story, context, hypothesis)
    if context is hypothesis is Modality.SPEECH:
        return _of_whole_speech
    if context is hypothesis:
        return _of_whole_text
    names = f"{context.name.lower()}_to_{hypothesis.name.lower()}"
    if word_times is None:
        raise ValueError(
            f"{names} needs beginnings and endings apart, but the recordings are of whole stories: give word_times, a "
            "corpus folder of them that `spiritlm align` has aligned, or files <base>_mutual, _correct and _incorrect"
        )
    if cache is None:
        raise ValueError(f"cache must be a folder to write cuts of recordings to for {names}, but none is given")
    cutter = _Cutter(WordTimes(word_times), Path(cache))
    return cutter.text_to_speech if context is Modality.TEXT else cutter.speech_to_text


def _item(story: Story, context: _Pieces, right: Piece, wrong: Piece) -> ChoiceItem:
    labels: Labels = {"story": story.id, "voice": story.voice}
    return ChoiceItem(story.name, context, (right,), (wrong,), labels, story.names)


def _text(value: str | None, what: str) -> str:
    if not value:
        raise ValueError(f"the text of its {what} is missing or empty")
    return value


def _audio(value: Path | None, what: str) -> Path:
    if value is None:
        raise ValueError(f"the recording of its {what} is missing")
    return value


def _of_parts(story: Story, context: Modality, hypothesis: Modality) -> ChoiceItem:
    beginning = Text(_text(story.beginning_text, "beginning")) if context is Modality.TEXT else None
    before = beginning or Speech(_audio(story.beginning_audio, "beginning"))
    if hypothesis is Modality.SPEECH:
        return _item(story, (before,), *map(Speech, _both_audio(story)))
    right, wrong = _both_texts(story)
    return _item(story, (before,), Text(right), Text(wrong))


def _of_whole_speech(story: Story) -> ChoiceItem:
    return _item(story, (), *map(Speech, _both_audio(story)))


def _of_whole_text(story: Story) -> ChoiceItem:
    right, wrong = _both_texts(story)
    count = shared_words(right, wrong)
    (before, one), (_, other) = split_text(right, count), split_text(wrong, count)
    return _item(story, (Text(before),) if before else (), Text(one), Text(other))


def _both_texts(story: Story) -> tuple[str, str]:
    right, wrong = _text(story.right_text, "right ending"), _text(story.wrong_text, "wrong ending")
    if right.split() == wrong.split():
        raise ValueError("its right and wrong endings are the same text")
    return right, wrong


def _both_audio(story: Story) -> tuple[Path, Path]:
    return _audio(story.right_audio, "right ending"), _audio(story.wrong_audio, "wrong ending")


@dataclass(frozen=True)
class _Cutter:
    """Cuts of whole stories."""

    times: WordTimes
    cache: Path

    def text_to_speech(self, story: Story) -> ChoiceItem:
        before, _, _ = self._split(story)
        endings = [
            Speech(cut_audio(audio, self.times.cut(audio, before, text), None, self.cache))
            for audio, text in zip(_both_audio(story), _both_texts(story), strict=True)
        ]
        return _item(story, (Text(before),), endings[0], endings[1])

    def speech_to_text(self, story: Story) -> ChoiceItem:
        before, right, wrong = self._split(story)
        audio = _audio(story.right_audio, "right ending")
        beginning = cut_audio(audio, 0.0, self.times.cut(audio, before, _both_texts(story)[0]), self.cache)
        return _item(story, (Speech(beginning),), Text(right), Text(wrong))

    @staticmethod
    def _split(story: Story) -> tuple[str, str, str]:
        right, wrong = _both_texts(story)
        count = shared_words(right, wrong)
        if not count:
            raise ValueError("its right and wrong texts do not begin with the same sentence")
        return (*split_text(right, count), split_text(wrong, count)[1])
