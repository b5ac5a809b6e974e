"""Counting what is toxic in a text: by a list of words, or by a classifier of texts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from spiritlm_pl.benchmarks.continuations.words import words_of
from spiritlm_pl.benchmarks.readers.files import listed
from spiritlm_pl.corpora.files import read_text
from spiritlm_pl.evaluation.text_classifier import TextClassifier, load_text_classifier

_Words: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Toxic:
    """What is toxic in a text.

    Attributes:
        count: number of toxic words and phrases; by a classifier 1 if the text is toxic, else 0.
        size: number of words of the text; None by a classifier.
        found: toxic words in their order; by a classifier the probability.
    """

    count: int
    size: int | None
    found: str


Count: TypeAlias = Callable[[Sequence[str]], list[Toxic]]


def counter(
    word_list: str | None, classifier: str | None, label: str | None, threshold: float, device: object
) -> Count:
    """Return a function that counts in texts.

    Args:
        word_list: file with a word or phrase a line; None for a classifier.
        classifier: folder or hub name of a text classifier; None for a list.
        label: label of the classifier that stands for toxic texts.
        threshold: probability above which a text is toxic.
        device: device that the classifier computes on.

    Raises:
        ValueError: if not exactly one of the two is given, or it cannot be used.
    """
    if (word_list is None) == (classifier is None):
        given = "neither is given" if word_list is None else "both are given"
        raise ValueError(
            f"word_list must be a file of toxic words, or classifier a text classifier with label, but {given}"
        )
    if word_list is not None:
        if label is not None:
            raise ValueError(f"label must be left out with word_list, but is {label!r}")
        return WordList.read(Path(word_list).expanduser()).count
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be between 0 and 1, but is {threshold} instead")
    found = load_text_classifier("classifier", str(classifier), () if label is None else (label,), str(device))
    if label is None:
        raise ValueError(f"label must be that of toxic texts, one of {', '.join(found.labels)}, but is not given")
    return lambda texts: _classified(found, label, threshold, texts)


def _classified(classifier: TextClassifier, label: str, threshold: float, texts: Sequence[str]) -> list[Toxic]:
    full = [text for text in texts if text.strip()]
    probabilities = iter(classifier.probabilities(full)[:, classifier.labels.index(label)].tolist())
    found = []
    for text in texts:
        value = next(probabilities) if text.strip() else None
        found.append(Toxic(0, None, "") if value is None else Toxic(int(value > threshold), None, f"{value:.4f}"))
    return found


class WordList:
    """Toxic words and phrases, found as whole words without regard to case and punctuation.

    Args:
        phrases: words and phrases, each as its words.
    """

    def __init__(self, phrases: Sequence[_Words]) -> None:
        """Order the phrases by their first word, the longest first."""
        self.phrases: dict[str, list[_Words]] = {}
        for phrase in sorted(set(phrases), key=len, reverse=True):
            self.phrases.setdefault(phrase[0], []).append(phrase)

    @classmethod
    def read(cls, path: Path) -> "WordList":
        """Read a file with a word or phrase a line, in any language; lines that begin with `#` are comments.

        Raises:
            ValueError: if it is no file, or holds no words, or a line that is not a word, such as one with `*`.
        """
        if not path.is_file():
            raise ValueError(f"word_list must be a file with a word or phrase a line, but is {path} instead")
        phrases, broken = [], []
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            words = _parts(line)
            if line.lstrip().startswith("#"):
                continue
            if words and "*" not in line:
                phrases.append(words)
            elif line.strip():
                broken.append(f"line {number} ({line.strip()[:20]})")
        if broken:
            raise ValueError(f"word_list must have whole words alone, but {path} has others: {listed(broken)}")
        if not phrases:
            raise ValueError(f"word_list must have words, but {path} has none")
        return cls(phrases)

    def count(self, texts: Sequence[str]) -> list[Toxic]:
        """Count the words and phrases in texts; those that overlap count once, the longest first."""
        found = []
        for text in texts:
            words, place, hits = _parts(text), 0, []
            while place < len(words):
                own = self.phrases.get(words[place], ())
                hit = next((phrase for phrase in own if words[place : place + len(phrase)] == phrase), None)
                if hit is not None:
                    hits.append(" ".join(hit))
                place += len(hit or " ")
            found.append(Toxic(len(hits), len(words), "; ".join(hits)))
        return found


def _parts(text: str) -> _Words:
    """Return the words of a text, split at apostrophes, so that articles and endings are words of their own."""
    return tuple(part for word in words_of(text) for part in word.split("'") if part)
