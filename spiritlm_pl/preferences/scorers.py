"""Scorers of continuations: how little they repeat themselves, how likely they are as text, and what people say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spiritlm_pl.benchmarks.continuations.transcripts import Hear, texts_of, transcriber
from spiritlm_pl.benchmarks.continuations.words import auto_bleu, joined, words_of
from spiritlm_pl.corpora.plain_tables import read_table
from spiritlm_pl.evaluation.text_likelihood import TextLikelihood, load_text_likelihood
from spiritlm_pl.generation.stream import decode_tokens
from spiritlm_pl.lm.base_model import model_folder
from spiritlm_pl.preferences.contract import Candidates
from spiritlm_pl.preferences.identity import content_hash
from spiritlm_pl.runtime.found import found_at
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

TABLE_COLUMNS = ("id", "answer", "score", "digest")


class AutoBleu:
    """Score by how little a continuation repeats itself: minus auto-BLEU of its words, and of its speech tokens.

    Text counts by words, speech by the tokens of its first stream, so that nothing has to be heard. A continuation with
    fewer words and tokens than an n-gram has no score.

    Args:
        size: number of words or speech tokens of the longest n-grams.

    Raises:
        ValueError: if it is below 1.
    """

    def __init__(self, size: int = 2) -> None:
        """Check the size."""
        if size < 1:
            raise ValueError(f"size must be at least 1, but is {size} instead")
        self.size = size

    def __call__(self, model: "SpiritLM", candidates: Sequence[Candidates]) -> list[list[float | None]]:
        """Score continuations; see `spiritlm_pl.preferences.contract.ContinuationScorer`."""
        return [[self._score(model, answer) for answer in one.answers] for one in candidates]

    def _score(self, model: "SpiritLM", answer: Sequence[int]) -> float | None:
        found = auto_bleu(said(model, answer), self.size)
        return None if found is None else -found


class Likelihood:
    """Score by the mean log-likelihood per token of a continuation as text, after its prompt as text.

    Speech is made audible with the model's vocoder and transcribed.

    Args:
        language_model: folder or hub name of a causal language model of texts.
        whisper: folder of a faster-whisper model that transcribes speech; None for pocketsphinx, or for text alone.
        vocabulary: texts whose English words pocketsphinx knows; None for Whisper, or for text alone.
        language: language, by its code.
        whisper_device: device that Whisper computes on: cpu, cuda or cuda:1.
    """

    def __init__(
        self,
        language_model: str,
        whisper: str | None = None,
        vocabulary: str | None = None,
        language: str = "en",
        whisper_device: str = "cpu",
    ) -> None:
        """Load the judges, except the language model, which is loaded when it is needed."""
        self.folder, self.language = model_folder(language_model, "language_model"), language
        self.whisper, self.vocabulary, self.whisper_device = whisper, vocabulary, whisper_device
        self.judge: TextLikelihood | None = None
        self.hear: Hear | None = None
        if whisper is not None or vocabulary is not None:
            self.hear = transcriber(whisper, vocabulary, language, whisper_device)

    def identity(self) -> str:
        """Return the options, with hashes of the judges; see `spiritlm_pl.preferences.contract.KeptScorer`."""
        judges = {
            "language_model": content_hash(self.folder),
            "whisper": None if self.whisper is None else content_hash(self.whisper),
            "vocabulary": None if self.vocabulary is None else texts_of(Path(self.vocabulary).expanduser()),
        }
        return json.dumps(judges | {"language": self.language, "whisper_device": self.whisper_device})

    def __call__(self, model: "SpiritLM", candidates: Sequence[Candidates]) -> list[list[float | None]]:
        """Score continuations; see `spiritlm_pl.preferences.contract.ContinuationScorer`."""
        if self.judge is None:
            self.judge = load_text_likelihood("language_model", self.folder, model.model.device)
        found: list[list[float | None]] = []
        for one in candidates:
            before = self._text(model, one.prompt)
            texts = [self._text(model, answer) for answer in one.answers]
            wholes = [(before, joined((before, text), self.language)) for text in texts]
            row: list[float | None] = []
            for text, result in zip(texts, self.judge.losses(wholes), strict=True):
                scored = not isinstance(result, ValueError) and bool(text.strip()) and result[1] > 0
                row.append(-result[0] / result[1] if scored and not isinstance(result, ValueError) else None)
            found.append(row)
        return found

    def _text(self, model: "SpiritLM", tokens: Sequence[int]) -> str:
        parts = []
        for segment in decode_tokens(tokens, model.vocabulary):
            if segment.modality is Modality.TEXT:
                parts.append(model.text_tokenizer.decode(list(segment.tokens)))
                continue
            synthesis = model.synthesis
            if self.hear is None or synthesis is None:
                lacks = "whisper or vocabulary" if self.hear is None else "a vocoder of the model"
                raise ValueError(f"scorer likelihood needs {lacks} for speech, but has none")
            parts.append(self.hear(synthesis.speak(segment.tokens), synthesis.sample_rate))
        return joined(parts, self.language)


class Table:
    """Score by a table that people have filled in, as `spiritlm prepare preferences` writes it; higher is better.

    Its columns are id, answer (from 1), score, and digest, which tells the continuation that the score is of.

    Args:
        path: file with fields separated by commas, tabs or semicolons. A row without a score is passed over.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or a row cannot be read.
    """

    def __init__(self, path: str) -> None:
        """Read the table."""
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"path must be a table with columns {', '.join(TABLE_COLUMNS)}, but {found_at(path)}"
            )
        table = read_table(Path(path), TABLE_COLUMNS)
        if table.broken:
            raise ValueError(table.broken[0].reason)
        self.path = path
        self.scores: dict[tuple[str, int], tuple[float, str]] = {}  # with the digest
        for row in table.rows:
            told = {name: row.cells[name].strip() for name in TABLE_COLUMNS}
            if not told["score"]:
                continue
            try:
                key, score = (told["id"], int(told["answer"])), float(told["score"])
            except ValueError:
                raise ValueError(f"line {row.line} of {path} must have a number as answer and score: {told}") from None
            if key in self.scores:
                raise ValueError(f"answers must be scored once, but {path} scores answer {key[1]} of {key[0]} twice")
            self.scores[key] = score, told["digest"]
        if not self.scores:
            raise ValueError(f"column score of {path} must be filled in, but is empty")

    def __call__(self, model: "SpiritLM", candidates: Sequence[Candidates]) -> list[list[float | None]]:
        """Score continuations; see `spiritlm_pl.preferences.contract.ContinuationScorer`.

        Raises:
            ValueError: if a score is of another continuation than the one of that number.
        """
        digests = {one.id: one.digests for one in candidates}
        for (name, number), (_, digest) in self.scores.items():
            known = digests.get(name)
            if known is not None and digest not in known[number - 1 : number]:
                raise ValueError(
                    f"scores must be of the continuations that people heard, but {self.path} scores another answer "
                    f"{number} of {name}: give the model, the prompts and the settings that it was made with, or move "
                    "it away"
                )
        return [
            [
                None if (found := self.scores.get((one.id, number))) is None else found[0]
                for number in range(1, len(one.answers) + 1)
            ]
            for one in candidates
        ]


def said(model: "SpiritLM", tokens: Sequence[int]) -> list[str]:
    """Return the words of an answer, and its speech tokens of the first stream by their names."""
    found: list[str] = []
    for segment in decode_tokens(tokens, model.vocabulary):
        if segment.modality is Modality.TEXT:
            found += words_of(model.text_tokenizer.decode(list(segment.tokens)))
        else:
            found += [f"[{token}]" for token in segment.tokens if model.vocabulary.counts_frames(token)]
    return found
