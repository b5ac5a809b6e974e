"""Alignment of a whole corpus, in parallel and resumable.

Results are stored line by line in `<corpus>/.alignment.jsonl` until the manifests are rewritten, so that an
interrupted run goes on where it stopped.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from spiritlm_pl.alignment.contract import Aligner, check_length
from spiritlm_pl.contracts.batches import Skipped
from spiritlm_pl.corpora.audio import AudioError, load_waveform
from spiritlm_pl.corpora.manifest import (
    SPLITS,
    Word,
    load_cuts,
    with_alignment,
    word_alignment,
    write_cuts,
    write_jsonl,
)
from spiritlm_pl.corpora.text.transcripts import is_english, unreadable, written_tokens
from spiritlm_pl.corpora.word_times import AlignedWord, AlignmentError, fit_times, token_times
from spiritlm_pl.registry import path_of
from spiritlm_pl.runtime.parallel import parallel_map
from spiritlm_pl.runtime.provenance import atomic_path, code_version

CACHE_FILE = ".alignment.jsonl"
UNALIGNED_FILE = "unaligned.jsonl"
REPORT_FILE = "alignment.json"


@dataclass(frozen=True)
class Outcome:
    """Result of aligning one cut: its times, or the reason why there are none.

    Attributes:
        id: id of the cut.
        key: hash of the aligner's settings, the text and the duration, by which a stored result is known to be valid.
        words: words with times in seconds from the start of the cut.
        phones: phones with times in seconds from the start of the cut.
        reason: reason why the cut could not be aligned; None if it was.
        source: file or entry that the times come from; None for times found in audio.
    """

    id: str
    key: str
    words: Sequence[Word] = ()
    phones: Sequence[Word] = ()
    reason: str | None = None
    source: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Outcome":
        """Make an outcome from the dictionary that `asdict` made of it."""
        items = {kind: [AlignedWord(**word) for word in values[kind]] for kind in ("words", "phones")}
        return cls(values["id"], values["key"], reason=values["reason"], source=values["source"], **items)


@dataclass(frozen=True)
class _Job:
    aligner: Aligner

    def __call__(self, cut: MonoCut) -> Outcome:
        key = _key(self.aligner, cut)
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


def _key(aligner: Aligner, cut: MonoCut) -> str:
    text = cut.supervisions[0].text or ""
    return hashlib.sha256(f"{aligner!r}\0{text}\0{cut.duration}".encode()).hexdigest()[:16]


def _read_cache(path: Path) -> dict[tuple[str, str], Outcome]:
    if not path.is_file():
        return {}
    done: dict[tuple[str, str], Outcome] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            outcome = Outcome.from_dict(json.loads(line))
        except json.JSONDecodeError:
            continue  # a line that was cut short by an interrupt
        done[outcome.id, outcome.key] = outcome
    return done


def _outcomes(todo: list[MonoCut], aligner: Aligner, cache: Path, num_jobs: int | None) -> Iterator[Outcome]:
    done = _read_cache(cache) if aligner.needs_audio else {}  # files of times may have changed since the last run
    keys = [(cut.id, _key(aligner, cut)) for cut in todo]
    missing = [cut for cut, key in zip(todo, keys, strict=True) if key not in done]
    with cache.open("a", encoding="utf-8") as stream:
        stream.write("\n")
        for outcome in parallel_map(_Job(aligner), missing, num_jobs, f"aligning with {aligner.name}"):
            stream.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")
            stream.flush()
            done[outcome.id, outcome.key] = outcome
    yield from (done[key] for key in keys)


def _of_one_source_each(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """Return outcomes by id; cuts that share one source become errors, as its times can be of only one of them."""
    found = {outcome.id: outcome for outcome in outcomes}
    owners: dict[str, list[str]] = {}
    for outcome in found.values():
        if outcome.source is not None:
            owners.setdefault(outcome.source, []).append(outcome.id)
    for source, ids in owners.items():
        for name in ids if len(ids) > 1 else ():
            reason = f"times must be of one utterance, but {source} fits {', '.join(ids[:3])}"
            found[name] = Outcome(name, found[name].key, reason=reason)
    return found


def align_corpus(
    corpus: str | Path, aligner: Aligner, *, overwrite: bool = False, num_jobs: int | None = None
) -> dict[str, Any]:
    """Add word times to the cuts of a corpus, in place.

    Cuts that cannot be aligned stay in the corpus without times, and `unaligned.jsonl` lists them with the reasons.

    Args:
        corpus: path of the corpus folder.
        aligner: aligner that finds the words.
        overwrite: whether to replace existing times; if False, only cuts without times are aligned.
        num_jobs: number of processes; None for one per core.

    Returns:
        The contents of `alignment.json`: method, settings, counts of aligned and unaligned cuts and of words, code
            version.

    Raises:
        FileNotFoundError: if the folder is no corpus.
        ValueError: if no cut of the corpus has times in the end.
    """
    corpus = Path(corpus)
    splits = {split: list(load_cuts(corpus, split)) for split in SPLITS}
    todo = [cut for cuts in splits.values() for cut in cuts if overwrite or not word_alignment(cut)]
    cache = corpus / CACHE_FILE
    outcomes = _of_one_source_each(_outcomes(todo, aligner, cache, num_jobs))
    failed = [
        Skipped(cut.id, str(cut.recording.sources[0].source), outcomes[cut.id].reason or "")
        for cut in todo
        if outcomes[cut.id].reason is not None
    ]
    if todo and len(failed) == sum(len(cuts) for cuts in splits.values()):
        cache.unlink()
        raise ValueError(
            f"corpus must have utterances that can be aligned, but none can (the first: "
            f"{failed[0].id}: {failed[0].reason})"
        )
    num_words = 0
    for split, cuts in splits.items():
        updated = [_with_outcome(cut, outcomes.get(cut.id)) for cut in cuts]
        num_words += sum(len(word_alignment(cut)) for cut in updated)
        if any(cut.id in outcomes for cut in cuts):
            write_cuts(corpus, split, updated)
    write_jsonl(corpus / UNALIGNED_FILE, failed)
    total = sum(len(cuts) for cuts in splits.values())
    report = {
        "method": aligner.name,
        "settings": _settings_of(aligner),
        "aligned": total - len(failed),
        "newly_aligned": len(todo) - len(failed),
        "unaligned": len(failed),
        "words": num_words,
        "code_version": code_version(),
    }
    with atomic_path(corpus / REPORT_FILE) as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    cache.unlink()
    return report


def _with_outcome(cut: MonoCut, outcome: Outcome | None) -> MonoCut:
    if outcome is None:
        return cut
    return with_alignment(cut, outcome.words, outcome.phones)


def _settings_of(aligner: Aligner) -> str:
    """Describe the settings of an aligner in the same text in every run.

    The default `repr` of an object shows its address in memory, so it is replaced by the class and its attributes.
    """
    kind = type(aligner)
    return f"{path_of(kind)} {vars(aligner)}" if kind.__repr__ is object.__repr__ else repr(aligner)
