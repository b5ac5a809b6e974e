"""sBLIMP in miniature: pairs of a right and a wrong sentence from templates (layout of ZeroSpeech's sLM21).

`syntactic/{dev,test}/<stem>.wav` beside `gold.csv`. Subtypes of one type draw the same words, so that a word that is
right in one is wrong as often in the subtype that mirrors it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spiritlm_pl.benchmarks.items import Labels
from spiritlm_pl.benchmarks.make.grammars import FOLDER
from spiritlm_pl.benchmarks.make.lexicon import phones_of
from spiritlm_pl.benchmarks.make.miniature import Miniature, Part, Recording, as_csv
from spiritlm_pl.benchmarks.make.settings import Settings, read_yaml
from spiritlm_pl.benchmarks.make.slm21 import SPLITS, index_entry
from spiritlm_pl.benchmarks.make.speaking import check_sayable
from spiritlm_pl.benchmarks.make.templates import SlottedTexts, read_lists
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.corpora.synthetic.espeak import Voice

COLUMNS = ("filename", "id", "voice", "type", "subtype", "transcription", "correct")
BUILT_IN = FOLDER / "pairs.yaml"


@dataclass(frozen=True)
class PairTemplate:
    """Template of a right and a wrong sentence."""

    type: str
    subtype: str
    template: SlottedTexts


def read_pairs(settings: Settings) -> list[PairTemplate]:
    """Read the pairs of a grammar file, or of the built-in one.

    Raises:
        ValueError: if the file is not as it must be; names the pair.
    """
    if settings.grammar is None:
        settings.needs_english("grammar")
    path = settings.grammar or BUILT_IN
    values = read_yaml(path, "grammar")
    lists = read_lists(values.get("words", {"none": ["none"]}), str(path))
    pairs = values.get("pairs")
    if not isinstance(pairs, list) or not pairs:
        raise ValueError(f"grammar must hold a list of pairs, but {path} has {pairs!r} instead")
    found: dict[tuple[str, str], PairTemplate] = {}
    for number, pair in enumerate(pairs, 1):
        one = _read_pair(pair, lists, f"pair {number} of {path}")
        if (one.type, one.subtype) in found:
            raise ValueError(f"subtypes must be unique in their type, but {path} has {one.type} {one.subtype} twice")
        found[one.type, one.subtype] = one
    return list(found.values())


def _read_pair(pair: Any, lists: Any, where: str) -> PairTemplate:
    names = ("type", "subtype", "right", "wrong")
    if not isinstance(pair, dict) or set(pair) != set(names):
        told = ", ".join(map(str, pair)) if isinstance(pair, dict) else repr(pair)
        raise ValueError(f"pairs must have {', '.join(names)}, but {where} has {told} instead")
    for name, value in pair.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name} must be a text, but is {value!r} in {where} instead")
    if pair["right"] == pair["wrong"]:
        raise ValueError(f"right and wrong must differ, but both are {pair['right']!r} in {where}")
    return PairTemplate(pair["type"], pair["subtype"], SlottedTexts([pair["right"], pair["wrong"]], lists, where))


def make_sblimp(settings: Settings) -> Miniature:
    """Make minimal pairs, each said by every voice.

    Raises:
        ValueError: if the grammar is not as it must be, or does not give as many pairs as are wanted.
    """
    templates = read_pairs(settings)
    number = len(templates)
    fewest = min(templates, key=lambda one: one.template.capacity)
    settings.check_count(
        number * fewest.template.capacity,
        f"pairs of the grammar, as {fewest.type} {fewest.subtype} has {fewest.template.capacity}",
        least=2 * number,
    )
    recordings: list[Recording] = []
    rows: dict[str, list[Labels]] = {split: [] for split in SPLITS}
    verdicts: dict[str, bool] = {}
    for place, one in enumerate(templates):
        wanted = settings.count // number + (place < settings.count % number)
        draw = random.Random(f"pairs {settings.seed} {one.type}")
        for index, (right, wrong) in enumerate(one.template.draw(wanted, draw)):
            _check_pair(one, right, wrong, verdicts, settings.voices)
            split = SPLITS[index % 2]
            for voice in settings.voices:
                for text, correct in ((right, 1), (wrong, 0)):
                    recording, row = _recording(one, split, index // 2, voice, text, correct)
                    recordings.append(recording)
                    rows[split].append(row)
    files = {f"syntactic/{split}/gold.csv": as_csv(rows[split], COLUMNS) for split in SPLITS}
    entries = {name: entry for split in SPLITS for name, entry in index_entry("syntactic", split, rows[split]).items()}
    source = "built in (Apache-2.0)" if settings.grammar is None else f"{settings.grammar.name}, under its own licence"
    types = len({one.type for one in templates})
    notes = [f"{types} types with {number} subtypes; grammar: {source}"]
    return Miniature("sblimp", recordings, files, entries, notes)


def _check_pair(one: PairTemplate, right: str, wrong: str, verdicts: dict[str, bool], voices: Sequence[Voice]) -> None:
    """Check that the sentences can be said, differ in writing and in sound, and are not right and wrong at once."""
    where = f"{one.type} {one.subtype}"
    for text, verdict in ((right, True), (wrong, False)):
        check_sayable(text, voices[0].language, where)
        if verdicts.setdefault(text, verdict) != verdict:
            raise ValueError(f"a sentence must be right or wrong, but {text!r} is both in {where} or elsewhere")
    if any(phones_of(right, voice) == phones_of(wrong, voice) for voice in voices):
        raise ValueError(f"right and wrong must sound different, but {right!r} and {wrong!r} of {where} sound the same")


def _recording(
    one: PairTemplate, split: str, number: int, voice: Voice, text: str, correct: int
) -> tuple[Recording, Labels]:
    name = voice.name.replace("+", "-")
    stem = plain_name(f"{one.type}-{one.subtype}-{number:05d}-{name}-{'right' if correct else 'wrong'}")
    row: Labels = {
        "filename": stem,
        "id": number,
        "voice": name,
        "type": one.type,
        "subtype": one.subtype,
        "transcription": text,
        "correct": correct,
    }
    labels: Labels = {"id": number, "type": one.type, "subtype": one.subtype, "correct": correct}
    pair = f"{split} {one.type} {one.subtype} {number} {name}"
    file = f"syntactic/{split}/{stem}.wav"
    return Recording(file, (Part(text, voice),), labels, pair=pair, correct=bool(correct)), row
