"""EmoV-DB: sentences of CMU Arctic acted in five emotions by four speakers (Adigwe et al., 2018, arXiv 1806.09514).

The files are laid out as OpenSLR 115 unpacks (`bea_Amused/amused_1-15_0001.wav`) or as sorted by the authors
(`bea/Amused/amused_1-15_0001.wav`). By the README of github.com/numediart/EmoV-DB, a name ends in the number of the
sentence; by its issue 2, only the sentences `arctic_a*` were read. They come in `cmuarctic.data` of festvox.org:

    ( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )
"""

import re
from collections.abc import Collection
from pathlib import Path

from spiritlm_pl.contracts.skipped import Skipped
from spiritlm_pl.corpora.ingest import Utterance
from spiritlm_pl.corpora.sources.folder import audio_files
from spiritlm_pl.runtime.found import found_at

LICENCE = "EmoV-DB's own: research, teaching, personal experiments; not for commercial use"
PROMPTS = "cmuarctic.data"
PROMPTS_URL = "http://www.festvox.org/cmu_arctic/cmuarctic.data"
STYLES = {
    "amused": "amused",
    "anger": "angry",
    "angry": "angry",
    "disgust": "disgusted",
    "disgusted": "disgusted",
    "neutral": "neutral",
    "sleepiness": "sleepy",
    "sleepy": "sleepy",
}

_PROMPT = re.compile(r'\(\s*arctic_a(\d{4})\s+"(.*)"\s*\)')
_NUMBER = re.compile(r"_(\d{4})$")


def read_prompts(path: str | Path) -> dict[str, str]:
    """Read the sentences `arctic_a*` by their numbers of four digits.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no such sentences.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"prompts must be {PROMPTS} ({PROMPTS_URL}), but {found_at(path)}")
    found = dict(_PROMPT.findall(path.read_text(encoding="utf-8-sig", errors="replace")))
    if not found:
        raise ValueError(f'prompts must have lines ( arctic_a0001 "..." ), but {path} has none instead')
    return found


def read_emov_db(
    corpus_dir: str | Path, prompts: str | Path | None = None, written: Collection[Path] = ()
) -> tuple[list[Utterance], list[Skipped]]:
    """Read the utterances of EmoV-DB, and list the files whose emotion or sentence is not known.

    Args:
        corpus_dir: path of the corpus's folder.
        prompts: path of the file of sentences; None for the one in `corpus_dir`.
        written: resolved paths of audio that an earlier run has written there, which is left out.

    Raises:
        FileNotFoundError: if the folder, or the file of sentences, is missing.
        NotADirectoryError: if the folder is a file.
        ValueError: if the latter holds no sentences.
    """
    root = Path(corpus_dir)
    paths = audio_files(root, written, "corpus_dir")
    sentences = read_prompts(prompts or root / PROMPTS)
    utterances, skipped = [], []
    for path in paths:
        speaker, _, emotion = path.parent.name.rpartition("_")
        style, number = STYLES.get(emotion.lower()), _NUMBER.search(path.stem)
        fault = None
        if style is None:
            fault = f"folder must be of an emotion ({', '.join(STYLES)}), but is {path.parent.name!r} instead"
        elif number is None:
            fault = "name must end in the number of a sentence"
        elif number[1] not in sentences:
            fault = f"there is no sentence arctic_a{number[1]}"
        if fault is None:
            speaker = speaker or path.parent.parent.resolve().name
            text = sentences[number[1]] if number else None
            name = f"{speaker}-{style}-{path.stem}"
            utterances.append(Utterance(name, path, text, speaker, custom={"style": style}))
        else:
            skipped.append(Skipped("-".join(path.relative_to(root).with_suffix("").parts), str(path), fault))
    return utterances, skipped
