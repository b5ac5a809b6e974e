"""CPU time and disk of the way from recordings and text to training blocks."""

from dataclasses import dataclass, fields
from math import ceil, isfinite

from spiritlm_pl.data.build_tasks import RUN_TOKENS
from spiritlm_pl.data.shuffling import GROUP_TOKENS
from spiritlm_pl.planning.figures import Figures

SAMPLE_BYTES = 16_000 * 2  # of a second of speech, 16 bits a sample
DOCUMENT_BYTES, WORD_BYTES = 12, 8  # in blocks, beside the tokens
RUN_DOCUMENT_BYTES = 48  # in the sorted runs from which blocks are made
SMALL_VOCABULARY = 1 << 16  # up to which a token takes 2 bytes in a block, else 4
PITCH_RATE, STYLE_RATE = 12.5, 1.0  # codes a second


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a model is trained on.

    Attributes:
        hours: hours of speech without word times.
        aligned_hours: hours of speech with word times and transcripts.
        text_tokens: number of tokens of text, besides the transcripts.
        document_tokens: number of tokens in a document of text.
        utterance_seconds: seconds of an utterance.
        units_per_second: units in a second of speech, after deduplication.
        words_per_second: words in a second of speech.
        tokens_per_word: tokens of text in a word.
        expressive: whether speech has pitch and style codes as well.
    """

    hours: float = 458_000
    aligned_hours: float = 111_000
    text_tokens: float = 307e9
    document_tokens: float = 1000
    utterance_seconds: float = 11.0
    units_per_second: float = 17.1
    words_per_second: float = 2.7
    tokens_per_word: float = 1.3
    expressive: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: if an amount is negative, or a rate is not above 0.
        """
        amounts = ("hours", "aligned_hours", "text_tokens")
        for name in (field.name for field in fields(self) if field.name != "expressive"):
            value = getattr(self, name)
            if not isfinite(value) or value < 0 or (name not in amounts and value == 0):
                rule = "at least 0" if name in amounts else "above 0"
                raise ValueError(f"{name} must be {rule}, but is {value:g} instead")

    @property
    def all_hours(self) -> float:
        """Hours of speech with and without word times."""
        return self.hours + self.aligned_hours

    @property
    def codes_per_second(self) -> float:
        """Pitch and style codes in a second of speech, before runs of equal ones become one token."""
        return PITCH_RATE + STYLE_RATE if self.expressive else 0.0

    def utterances(self, hours: float) -> float:
        """Return the number of utterances in so many hours."""
        return hours * 3600 / self.utterance_seconds

    def speech_tokens(self, hours: float) -> float:
        """Return the number of speech tokens in so many hours, at most, as equal pitch codes may become one."""
        return hours * 3600 * (self.units_per_second + self.codes_per_second)

    def words(self, hours: float) -> float:
        """Return the number of words in so many hours."""
        return hours * 3600 * self.words_per_second


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One line of the plan.

    Attributes:
        name: what is done, or what lies on the disk.
        amount: number of seconds, tokens or utterances that it is about.
        unit: what `amount` counts.
        cpu_seconds: time on one core; None where nothing is computed, or another line has it.
        disk: bytes that it leaves on the disk.
    """

    name: str
    amount: float
    unit: str
    cpu_seconds: float | None
    disk: float


def data_path(corpus: Corpus, figures: Figures, vocabulary: int) -> list[Stage]:
    """Return what each stage takes; the last is on the disk only while blocks are built.

    Args:
        corpus: what the model is trained on.
        figures: what a second of speech, an utterance and a token cost.
        vocabulary: rows of the model's embedding, which decide how many bytes a token takes.
    """
    width = 2 if vocabulary <= SMALL_VOCABULARY else 4
    hours, aligned = corpus.all_hours, corpus.aligned_hours
    seconds, utterances = hours * 3600, corpus.utterances(hours)
    words, documents = corpus.words(aligned), corpus.utterances(aligned)
    speech, paired = corpus.speech_tokens(hours), corpus.speech_tokens(aligned)
    transcripts = words * corpus.tokens_per_word
    texts = corpus.text_tokens / corpus.document_tokens + documents
    tokenised = figures.units + (figures.pitch + figures.style if corpus.expressive else 0.0)
    shards = (
        figures.shard_utterance * utterances
        + figures.shard_unit * seconds * corpus.units_per_second
        + figures.shard_code * seconds * corpus.codes_per_second
        + figures.shard_word * words
    )
    streams = (speech, paired + transcripts, transcripts + corpus.text_tokens)
    slices = [ceil(tokens / GROUP_TOKENS) * ceil(tokens / RUN_TOKENS) * figures.block_slice for tokens in streams]
    build = (
        figures.block_utterance * utterances
        + figures.block_unit * speech
        + figures.block_aligned * documents
        + figures.block_aligned_unit * paired
        + figures.block_word * words
    )
    written = sum(streams)
    all_documents, all_words = utterances + documents + texts, utterances + words + texts
    return [
        Stage(name="recordings", amount=hours, unit="hours", cpu_seconds=None, disk=SAMPLE_BYTES * seconds),
        Stage(name="predict: unit shards", amount=hours, unit="hours", cpu_seconds=tokenised * seconds, disk=shards),
        Stage(
            name="build-blocks: speech",
            amount=speech,
            unit="tokens",
            cpu_seconds=build + slices[0] + slices[1],
            disk=width * speech + (DOCUMENT_BYTES + WORD_BYTES) * utterances,
        ),
        Stage(
            name="build-blocks: aligned",
            amount=paired + transcripts,
            unit="tokens",
            cpu_seconds=None,
            disk=width * (paired + transcripts) + WORD_BYTES * words + DOCUMENT_BYTES * documents,
        ),
        Stage(
            name="build-blocks: text",
            amount=corpus.text_tokens + transcripts,
            unit="tokens",
            cpu_seconds=figures.block_text_token * corpus.text_tokens + slices[2],
            disk=width * (corpus.text_tokens + transcripts) + (DOCUMENT_BYTES + WORD_BYTES) * texts,
        ),
        Stage(
            name="while blocks are built",
            amount=written,
            unit="tokens",
            cpu_seconds=None,
            disk=width * written + RUN_DOCUMENT_BYTES * all_documents + WORD_BYTES * all_words,
        ),
    ]
