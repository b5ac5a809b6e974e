"""Expresso: four actors read 8 styles and improvise dialogues in 26 (Nguyen et al., 2023, arXiv 2308.05725).

The layout is that of `expresso.tar`, by its README and the metadata in facebookresearch/textlesslib,
examples/expresso/dataset:

    audio_48khz/read/ex03/default/base/ex03_default_emphasis_00010.wav            speaker_style[_substyle]_number
    audio_48khz/read/ex03/default/longform/ex03_default_longform_00001.wav        minutes long
    audio_48khz/conversational/ex04-ex01/sad-sympathetic/ex04-ex01_sad-sympathetic_006.wav   minutes long, stereo
    read_transcriptions.txt        name <TAB> text, with *emphasis*
    VAD_segments.txt               name/channel1 <TAB> (0.0, 1.5) (2.3, 4.0) ..., long readings without /channel1
    splits/{train,dev,test}.txt    name, or name <TAB> (60.0s,) where a part of the file belongs to the split

The first speaker and style belong to the first channel; a single style belongs to both. Lines with # are comments.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.collect import check_settings, collect
from spiritlm_pl.corpora.ingest import Rules, Utterance
from spiritlm_pl.corpora.manifest import SPLITS
from spiritlm_pl.corpora.sources.folder import audio_files
from spiritlm_pl.runtime.found import check_folder, found_at

LICENCE = "CC BY-NC 4.0: not for commercial use"
AUDIO = "audio_48khz"
TRANSCRIPTS = "read_transcriptions.txt"
SEGMENTS = "VAD_segments.txt"
SPLIT_FILES = {"train": "splits/train.txt", "validation": "splits/dev.txt", "test": "splits/test.txt"}
LONG = "longform"

Span = tuple[float, float]  # seconds; an open end is infinite

_NAME = re.compile(r"(?P<speakers>[^_]+)_(?P<styles>[^_]+)(?:_(?P<substyle>.+))?_\d+")
_SPAN = re.compile(r"\(\s*(\d[\d.]*)?s?\s*,\s*(\d[\d.]*)?s?\s*\)")


def read_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Read the names in a file of the corpus, each with the text after the tab.

    Raises:
        FileNotFoundError: if the file is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"corpus_dir must be laid out as Expresso is, but {found_at(path)}")
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        name, _, rest = line.partition("\t")
        if name.strip() and not name.startswith("#"):
            yield name.strip(), rest.strip()


def read_spans(text: str) -> list[Span]:
    """Parse spans such as `(0.0, 1.5) (2.3, 4.0)`, `(,60.0s)` or `(60.0s,)`.

    Raises:
        ValueError: if there is text but no span in it.
    """
    spans = [(float(start or 0), float(end or math.inf)) for start, end in _SPAN.findall(text)]
    if text and not spans:
        raise ValueError(f"parts of a file must be written as (start, end), but are {text!r} instead")
    return spans


def pieces(segments: list[Span], within: list[Span], longest: float) -> Iterator[Span]:
    """Yield the parts of segments within spans, cutting those longer than `longest` seconds into equal pieces."""
    for first, last in within:
        for start, end in segments:
            start, end = max(start, first), min(end, last)
            if end == math.inf:  # its length is not known
                yield start, end
            elif start < end:
                count = math.ceil((end - start) / longest)
                length = (end - start) / count
                yield from ((start + index * length, start + (index + 1) * length) for index in range(count))


def _long_file(
    path: Path, name: re.Match[str], segments: dict[str, list[Span]], within: list[Span], longest: float, split: str
) -> Iterator[Utterance]:
    """Yield the utterances of a dialogue or a long reading; a channel without segments is taken whole."""
    speakers, styles = name["speakers"].split("-"), name["styles"].split("-")
    for channel, speaker in enumerate(speakers):
        dialogue = len(speakers) > 1
        key = f"{path.stem}/channel{channel + 1}" if dialogue else path.stem
        custom = {"style": styles[min(channel, len(styles) - 1)], "kind": "dialogue" if dialogue else LONG}
        spans = pieces(segments.get(key, [(0.0, math.inf)]), within, longest)
        for index, (start, end) in enumerate(spans):
            yield Utterance(
                f"{path.stem}-{speaker}-{split}-{index:03d}",
                path,
                None,
                speaker,
                start=start,
                duration=end - start if end < math.inf else None,
                channel=channel if dialogue else None,
                custom=custom,
                speech_only=True,
            )


def read_expresso(corpus_dir: str | Path, longest_piece: float) -> tuple[dict[str, list[Utterance]], list[Skipped]]:
    """Read the utterances of Expresso by split, and list the files that are missing or in no split.

    Args:
        corpus_dir: path of the corpus as it is unpacked.
        longest_piece: length in seconds above which speech without a text is cut into equal pieces.

    Raises:
        FileNotFoundError: if a file of the layout is missing.
        NotADirectoryError: if a folder of it is a file.
        ValueError: if the splits or segments are written in another way, or `longest_piece` is not above 0.
    """
    if not longest_piece > 0:
        raise ValueError(f"longest_piece must be above 0 s, but is {longest_piece} instead")
    root = Path(corpus_dir)
    for folder in (root, root / AUDIO):
        check_folder(folder, "corpus_dir", f"folder with {AUDIO}, as Expresso is unpacked")
    paths = {path.stem: path for path in audio_files(root / AUDIO, argument="corpus_dir")}
    texts = dict(read_rows(root / TRANSCRIPTS))
    segments = {key: read_spans(rest) for key, rest in read_rows(root / SEGMENTS)}
    utterances: dict[str, list[Utterance]] = {split: [] for split in SPLITS}
    skipped, listed = [], set()
    for split, file in SPLIT_FILES.items():
        for stem, rest in read_rows(root / file):
            listed.add(stem)
            within = read_spans(rest)
            path, name = paths.get(stem), _NAME.fullmatch(stem)
            if path is None or name is None:
                fault = "audio file is missing" if path is None else "name must be SPEAKER_STYLE_NUMBER"
                skipped.append(Skipped(stem, str(path or f"{stem}.wav"), fault))
            elif within or "-" in name["speakers"] or name["substyle"] == LONG:  # any text is of the whole file
                spans = within or [(0.0, math.inf)]
                utterances[split] += _long_file(path, name, segments, spans, longest_piece, split)
            else:
                custom = {"style": name["styles"], "kind": "read"}
                if name["substyle"]:
                    custom["substyle"] = name["substyle"]
                utterances[split].append(Utterance(stem, path, texts.get(stem), name["speakers"], custom=custom))
    skipped += [Skipped(stem, str(path), "no split names it") for stem, path in paths.items() if stem not in listed]
    return utterances, skipped


def prepare_expresso(
    corpus_dir: str | Path,
    out: str | Path,
    rules: Rules,
    *,
    longest_piece: float = 15.0,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Make a corpus folder of Expresso, in its own splits.

    Args:
        corpus_dir: path of the corpus as it is unpacked.
        out: path of the corpus folder to write.
        rules: conditions that an utterance must meet.
        longest_piece: length in seconds above which speech without a text is cut into equal pieces; 15 as in the paper.
        num_jobs: number of processes; None for one per core.
        overwrite: whether to replace a corpus in the folder that was made with other settings.

    Returns:
        The contents of `corpus.json`.

    Raises:
        FileNotFoundError: if a file of the layout is missing.
        ValueError: if a file is written in another way, or no utterance is usable.
    """
    settings: dict[str, Any] = {
        "rules": rules,
        "source": f"Expresso in {Path(corpus_dir).resolve()}",
        "arguments": {"longest_piece": longest_piece},
        "overwrite": overwrite,
    }
    check_settings(out, **settings)
    utterances, skipped = read_expresso(corpus_dir, longest_piece)
    return collect(
        out, utterances, name=Path(out).name, licence=LICENCE, skipped=skipped, num_jobs=num_jobs, **settings
    )
