"""Alignment of a whole corpus, in parallel and resumable.

Results are stored line by line in `<corpus>/.alignment.jsonl` until the manifests are rewritten, so that an
interrupted run goes on where it stopped.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from spiritlm_pl.alignment.contract import Aligner, check_length
from spiritlm_pl.alignment.outcomes import Outcome, OutcomeFile
from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.audio import AudioError, load_waveform
from spiritlm_pl.corpora.layout import ALIGNED, FROM_PREPARE, aligned_by_prepare, read_info
from spiritlm_pl.corpora.layout import ALIGNMENT_FILE as REPORT_FILE
from spiritlm_pl.corpora.layout import UNALIGNED_FILE as UNALIGNED_FILE
from spiritlm_pl.corpora.manifest import (
    SPLITS,
    checked_path,
    iterate_cuts,
    with_alignment,
    word_alignment,
    write_cuts,
    write_info,
    write_jsonl,
)
from spiritlm_pl.corpora.text.transcripts import is_english, unreadable, written_tokens
from spiritlm_pl.corpora.word_times import AlignmentError, fit_times, token_times
from spiritlm_pl.registry import path_of
from spiritlm_pl.runtime.parallel import parallel_map
from spiritlm_pl.runtime.provenance import atomic_path, code_version

CACHE_FILE = ".alignment.jsonl"


@dataclass(frozen=True)
class _Job:
    aligner: Aligner
    settings: str

    def __call__(self, cut: MonoCut) -> Outcome:
        key = _key(self.settings, cut)
        supervision = cut.supervisions[0]
        text = supervision.text or ""
        language = supervision.language or "en"
        tokens = written_tokens(text, language)
        if not tokens:
            return Outcome(cut.id, key, reason="transcript has no words")
        if self.aligner.english_only and not is_english(language):
            return Outcome(
                cut.id, key, reason=f"{self.aligner.name} reads English only, but this is {language}: --method ctc"
            )
        unknown = unreadable(text, language)
        if unknown is not None:
            return Outcome(cut.id, key, reason=f"{unknown!r} has no certain reading in {language}: write it in words")
        try:
            waveform = load_waveform(cut) if self.aligner.needs_audio else None
            aligned = self.aligner.align(cut.id, waveform, [word for _, words in tokens for word in words], language)
            check_length(aligned, cut.duration)
            words = token_times(tokens, aligned.words, cut.duration)
            return Outcome(cut.id, key, words, fit_times(aligned.phones, cut.duration), source=aligned.source)
        except (AlignmentError, AudioError) as error:
            return Outcome(cut.id, key, reason=str(error))
        except Exception as error:  # an aligner that fails on one utterance must not end the run
            return Outcome(cut.id, key, reason=f"{self.aligner.name} fails: {error!r:.500}")


def _key(settings: str, cut: MonoCut) -> str:
    text = cut.supervisions[0].text or ""
    return hashlib.sha256(f"{settings}\0{text}\0{cut.duration}".encode()).hexdigest()[:16]


class _Alignment:
    """Alignment of a corpus whose cuts are read several times rather than kept."""

    def __init__(self, corpus: Path, aligner: Aligner, overwrite: bool, outcomes: OutcomeFile) -> None:
        self.corpus, self.aligner, self.overwrite, self.outcomes = corpus, aligner, overwrite, outcomes
        self.settings = _settings_of(aligner)  # before the aligner changes by what it reads
        self.total, self.changed = 0, dict.fromkeys(SPLITS, 0)  # number of cuts, and of those to align in each split
        self.failed: list[Skipped] = []
        self.num_words = 0

    def _wanted(self, cut: MonoCut) -> bool:
        return self.overwrite or not word_alignment(cut)

    def _count(self) -> int:
        """Count the cuts, and return the number of those that no run has aligned yet."""
        missing = 0
        for split in SPLITS:
            for cut in iterate_cuts(self.corpus, split):
                self.total += 1
                self.changed[split] += self._wanted(cut)
                missing += self._is_missing(cut)
        return missing

    def _is_missing(self, cut: MonoCut) -> bool:
        return self._wanted(cut) and self.outcomes.find(cut.id, _key(self.settings, cut)) is None

    def _missing(self) -> Iterator[MonoCut]:
        """Yield cuts that no run has aligned yet; outcomes are not known before `finish`, so all of them stay."""
        for split in SPLITS:
            yield from filter(self._is_missing, iterate_cuts(self.corpus, split))

    def run(self, num_jobs: int | None) -> None:
        """Find the outcomes of all cuts, and list those without times.

        An aligner that needs no audio looks times up in what it has read, which one process holds in memory.
        """
        number = self._count()
        if not self.aligner.needs_audio:
            num_jobs = 1 if num_jobs is None else min(1, num_jobs)
        job, title = _Job(self.aligner, self.settings), f"aligning with {self.aligner.name}"
        for outcome in parallel_map(job, self._missing(), num_jobs, title, total=number):
            self.outcomes.append(outcome)
        self.outcomes.finish()
        for split in SPLITS:
            for cut in iterate_cuts(self.corpus, split) if self.changed[split] else ():
                if self._wanted(cut) and (reason := self._outcome(cut).reason) is not None:
                    self.failed.append(Skipped(cut.id, str(cut.recording.sources[0].source), reason))

    def _outcome(self, cut: MonoCut) -> Outcome:
        found = self.outcomes.find(cut.id, _key(self.settings, cut))
        assert found is not None, "all cuts have an outcome"
        return found

    def updated(self, split: str) -> Iterator[MonoCut]:
        """Yield all cuts of a split with their times, and count the words."""
        for cut in iterate_cuts(self.corpus, split):
            if self._wanted(cut):
                outcome = self._outcome(cut)
                cut = with_alignment(cut, outcome.words, outcome.phones)
            self.num_words += len(word_alignment(cut))
            yield cut


def align_corpus(
    corpus: str | Path, aligner: Aligner, *, overwrite: bool = False, num_jobs: int | None = None
) -> dict[str, Any]:
    """Add word times to the cuts of a corpus, in place.

    Cuts that cannot be aligned stay in the corpus without times, and `unaligned.jsonl` lists them with the reasons.

    Args:
        corpus: path of the corpus folder.
        aligner: aligner that finds the words.
        overwrite: whether to replace existing times; if False, only cuts without times are aligned.
        num_jobs: number of processes; None for one per core. An aligner that needs no audio has one.

    Returns:
        The contents of `alignment.json`: method, settings, counts of aligned and unaligned cuts and of words, how many
            cuts have the times of `spiritlm prepare`, code version. `corpus.json` counts the aligned cuts, too.

    Raises:
        FileNotFoundError: if the folder is no corpus.
        ValueError: if no cut of the corpus has times in the end.
    """
    corpus = Path(corpus)
    cache = corpus / CACHE_FILE
    for split in SPLITS:
        checked_path(corpus, split)
    info = read_info(corpus) or {}
    from_prepare = 0 if overwrite else aligned_by_prepare(corpus)
    # Files of times may have changed since the last run.
    with OutcomeFile(cache, earlier=aligner.needs_audio) as outcomes:
        work = _Alignment(corpus, aligner, overwrite, outcomes)
        work.run(num_jobs)
        failed, total, todo = work.failed, work.total, sum(work.changed.values())
        if todo and len(failed) == total:
            cache.unlink()
            raise ValueError(
                f"corpus must have utterances that can be aligned, but none can (the first: "
                f"{failed[0].id}: {failed[0].reason})"
            )
        for split, number in work.changed.items():
            if number:
                write_cuts(corpus, split, work.updated(split))
            else:
                deque(work.updated(split), maxlen=0)  # counts the words
    write_jsonl(corpus / UNALIGNED_FILE, failed)
    report = {
        "method": aligner.name,
        "settings": work.settings,
        ALIGNED: total - len(failed),
        FROM_PREPARE: from_prepare,
        "newly_aligned": todo - len(failed),
        "unaligned": len(failed),
        "words": work.num_words,
        "code_version": code_version(),
    }
    with atomic_path(corpus / REPORT_FILE) as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    write_info(corpus, {**info, ALIGNED: report[ALIGNED]})
    cache.unlink()
    return report


def _settings_of(aligner: Aligner) -> str:
    """Describe the settings of an aligner in the same text in every run.

    The default `repr` of an object shows its address in memory, so it is replaced by the class and its attributes.
    """
    kind = type(aligner)
    return f"{path_of(kind)} {vars(aligner)}" if kind.__repr__ is object.__repr__ else repr(aligner)
