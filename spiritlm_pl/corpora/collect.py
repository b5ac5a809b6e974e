"""Making of a corpus folder from the utterances of any source: check, split, write."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse import MonoCut

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.ingest import Rules, Utterance, drop_other_audio, ingest
from spiritlm_pl.corpora.manifest import SPLITS, replaced_corpus, save_corpus
from spiritlm_pl.corpora.replacing import check_corpus
from spiritlm_pl.corpora.splitting import check_fractions, drop_shared_transcripts, split_by_transcript


def check_settings(
    out: str | Path,
    *,
    rules: Rules,
    source: str,
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Refuse what `collect` would refuse, before its utterances are read, which may take long.

    Args:
        out: path of the corpus folder to write.
        rules: conditions that an utterance must meet.
        source: description of where the corpus comes from.
        seed: seed of the random splits.
        validation_fraction: share of sentences in the validation split, if there are no splits yet.
        test_fraction: share of sentences in the test split, if there are no splits yet.
        arguments: further values that the utterances depend on, such as the language; None for none.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The settings to record in `corpus.json`.

    Raises:
        ValueError: if a fraction is out of range, or the folder has a corpus of other settings, without `overwrite`.
    """
    check_fractions(validation_fraction, test_fraction)
    settings = {
        **(arguments or {}),
        **{name: value for name, value in vars(rules).items() if name != "symbols"},
        "seed": seed,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
    }
    check_corpus(out, source, settings, overwrite)
    return settings


def collect(
    out: str | Path,
    utterances: Sequence[Utterance] | Mapping[str, Sequence[Utterance]],
    rules: Rules,
    *,
    name: str,
    source: str,
    licence: str,
    skipped: Sequence[Skipped] = (),
    seed: int = 0,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.1,
    num_jobs: int | None = None,
    arguments: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a corpus folder of utterances.

    Args:
        out: path of the corpus folder to write.
        utterances: all utterances, which are split by transcript; or utterances by split, if the corpus has splits.
        rules: conditions that an utterance must meet.
        name: name of the corpus.
        source: description of where the corpus comes from.
        licence: licence of its audio, in words.
        skipped: utterances that the source itself had to leave out.
        seed: seed of the random splits.
        validation_fraction: share of sentences in the validation split, if there are no splits yet.
        test_fraction: share of sentences in the test split, if there are no splits yet.
        num_jobs: number of processes; None for one per core.
        arguments: further values that the utterances depend on, such as the language; None for none.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.

    Raises:
        ValueError: if no utterance is usable, or the folder has a corpus of other settings, without `overwrite`.
    """
    settings = check_settings(
        out,
        rules=rules,
        source=source,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        arguments=arguments,
        overwrite=overwrite,
    )
    parts = utterances if isinstance(utterances, Mapping) else {"": utterances}
    flat = [u for split in ("", *SPLITS) for u in parts.get(split, ())]
    with replaced_corpus(out):
        cuts, left_out = ingest(flat, out, rules, num_jobs, skipped)
    if not isinstance(utterances, Mapping):
        splits = split_by_transcript(cuts, validation_fraction, test_fraction, seed)
    else:
        owner = {u.id: split for split in SPLITS for u in utterances.get(split, ())}
        by_split: dict[str, list[MonoCut]] = {split: [] for split in SPLITS}
        for cut in cuts:
            by_split[owner[cut.id]].append(cut)
        splits, shared = drop_shared_transcripts(by_split)
        left_out += shared
    info = save_corpus(out, splits, name=name, source=source, licence=licence, skipped=left_out, arguments=settings)
    drop_other_audio(out, (cut for members in splits.values() for cut in members), flat)
    return info
