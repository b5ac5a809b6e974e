"""Words as aligners and alignment files give them: with a score, and with labels that are no words."""

from dataclasses import dataclass

from spiritlm_pl.corpora.manifest import Word

SILENCES = frozenset({"", "sil", "sp", "pau", "<eps>", "<sil>", "<p>", "#", "h#"})  # lower case
UNKNOWN = frozenset({"<unk>", "[unk]", "spn"})  # a word that the aligner did not know, lower case


@dataclass(frozen=True)
class AlignedWord(Word):
    """A word (or phone) with its times in seconds and, where the aligner tells, how sure it is in [0, 1]."""

    score: float | None = None


def is_silence(label: str) -> bool:
    """Whether a label stands for no sound, as far as the common tools go."""
    return label.strip().lower() in SILENCES


def score_of(word: Word) -> float | None:
    """Score of a word that may have one."""
    return word.score if isinstance(word, AlignedWord) else None
