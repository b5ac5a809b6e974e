"""Preparation of conversations: their records, checked, and a corpus of their audio, which is tokenised like any.

The folder that is written is a corpus folder with `conversations-SPLIT.jsonl` for each split beside its manifests.
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from spiritlm_pl.contracts.skipped import Skipped as Lost
from spiritlm_pl.conversations.prepared import RECORDS_FILE, write_records
from spiritlm_pl.conversations.readers import Audio, RawTurn, transcript_of, turns_of
from spiritlm_pl.conversations.record import Conversation, Part, Turn
from spiritlm_pl.conversations.rows import rows_of
from spiritlm_pl.corpora.files import plain_name, short_name
from spiritlm_pl.corpora.ingest import Rules, Utterance, drop_other_audio, ingest_any
from spiritlm_pl.corpora.manifest import INFO_FILE, SPLITS, replaced_corpus, save_corpus
from spiritlm_pl.corpora.replacing import check_corpus, claim_audio
from spiritlm_pl.corpora.splitting import assign_splits, check_fractions, split_of_part
from spiritlm_pl.corpora.text_files.finding import find_files
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.runtime.found import found_at, held_in
from spiritlm_pl.runtime.left_over import temporary_folder
from spiritlm_pl.storage.places import is_url

NUMBER = re.compile(r"\d+(?:\.\d+)?")
UNHEARD = "conversation whose audio cannot be used ({})"
GIVEN = "given"  # folder for audio whose bytes stand in the source
SUFFIXES = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}


@dataclass
class _Gathered:
    """Conversations that were read, and the utterances of their audio."""

    out: Path
    unnamed: Path  # where audio whose bytes stand in the source lies until all is read
    root: Path | None
    conversations: dict[str, Conversation] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    utterances: dict[str, list[Utterance]] = field(default_factory=dict)
    contents: dict[str, str] = field(default_factory=dict)  # equal for conversations that go into one split
    given: set[Path] = field(default_factory=set)  # files of audio whose bytes stand in the source
    parts: dict[str, str] = field(default_factory=dict)  # what a row says of its split, such as dev; empty for nothing

    def add(self, name: str, place: str, turns: Sequence[RawTurn], folder: Path, said: str, part: str) -> None:
        """Add a conversation.

        Args:
            name: its id.
            place: where it was read.
            turns: what it consists of.
            folder: folder to which paths of audio are relative, unless there is another one for all.
            said: words by which it goes into a split; empty to take all texts and audio.
            part: name of the part that it belongs to, such as dev; empty if it is not told.

        Raises:
            ValueError: if there is nothing to learn in it, or its audio is missing.
        """
        if name in self.conversations:
            raise ValueError("conversation whose id another one has")
        own: list[Utterance] = []
        found = []
        for turn in turns:
            parts = [one if isinstance(one, Part) else self._spoken(name, one, own, folder) for one in turn.parts]
            found.append(Turn(turn.role, tuple(parts), turn.learn))
        conversation = Conversation(name, tuple(found))
        try:
            json.dumps(conversation.to_dict(), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("text with half a surrogate pair") from None
        self.conversations[name] = conversation
        own_content = repr([(turn.role, turn.parts) for turn in turns])
        self.contents[name] = sha256((said or own_content).encode(errors="surrogatepass")).hexdigest()
        self.parts[name] = part
        self.places[name] = place
        self.utterances[name] = own

    def _spoken(self, name: str, audio: Audio, own: list[Utterance], folder: Path) -> Part:
        utterance = f"{name}-{len(own)}"
        path = self._given(utterance, audio.content) if audio.content is not None else self._path(audio, folder)
        own.append(Utterance(utterance, path, None, "", start=audio.start, duration=audio.duration, speech_only=True))
        return Part(utterance=utterance, learn=audio.learn)

    def _path(self, audio: Audio, folder: Path) -> Path:
        with suppress(OSError, RuntimeError):  # of what can be no path
            path = (self.root or folder) / Path(audio.path or "").expanduser()
            if path.is_file():
                return path
        raise ValueError("conversation whose audio is missing")

    def _given(self, name: str, content: bytes) -> Path:
        suffix = next((suffix for mark, suffix in SUFFIXES.items() if content.startswith(mark)), ".wav")
        path = self.unnamed / (short_name(plain_name(name)) + suffix)
        path.write_bytes(content)
        self.given.add(path)
        return path

    def name_given(self) -> None:
        """Move audio whose bytes stand in the source to where it stays, beside files of the user that lie there."""
        written = sorted(self.given)
        sources = [one.path for one in self.spoken() if one.path not in self.given]
        claimed = claim_audio(self.out, [self.out / GIVEN / path.name for path in written], sources)
        places = dict(zip(written, claimed, strict=True))
        for path, place in places.items():
            place.parent.mkdir(exist_ok=True)
            path.replace(place)
        for members in self.utterances.values():
            members[:] = [replace(one, path=places.get(one.path, one.path)) for one in members]
        self.given = {*claimed}

    def spoken(self) -> list[Utterance]:
        """Return the utterances of all conversations."""
        return [one for members in self.utterances.values() for one in members]


class _Listed(Skipped):
    """Count of what is left out, with a list of it for the corpus."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Lost] = []

    def add(self, reason: str, place: str, number: int = 1, own: str | None = None) -> None:
        """Count something that is left out; in the list it has a reason of its own where that is not `reason`."""
        super().add(reason, place, number)
        self.rows.append(Lost(place, place, own or reason))


def _check_out(out: Path) -> None:
    """Refuse a folder that holds something else than a corpus, or what an earlier run has left of one."""
    own = (INFO_FILE, "audio", GIVEN)
    held = held_in(out)
    if held and not set(own).intersection(held):
        raise ValueError(f"out must be a new folder or a corpus, but {out} holds {', '.join(held[:3])}")


def _split_of(names: Sequence[str], gathered: _Gathered, fractions: tuple[float, float], seed: int) -> dict[str, str]:
    """Return the split of each conversation: what its row tells where rows tell what is held out, or else drawn."""
    told = {name: split_of_part(gathered.parts[name]) for name in names}
    if {*told.values()} - {None, "train"}:
        return {name: split or "train" for name, split in told.items()}
    drawn = assign_splits([gathered.contents[name] for name in names], *fractions, seed)
    return {name: drawn[gathered.contents[name]] for name in names}


def _read(source: Sequence[str], task: str | None, gathered: _Gathered, skipped: Skipped) -> None:
    """Read all conversations of a source.

    Raises:
        FileNotFoundError: if a file of the source is missing.
        ValueError: if no conversation can be used.
    """
    console = Console(stderr=True)
    for file in track(
        find_files(source, "source"), "reading", console=console, transient=True, disable=not console.is_terminal
    ):
        path = Path(str(file.path))
        for place, values in rows_of(file, skipped):
            try:
                turns = turns_of(values, task)
                name = plain_name(str(values.get("id") or f"{path.stem}-{place.rpartition(':')[2]}"))
                # Rows of a task with the same words stay together, as utterances of one sentence do in a corpus.
                said = "" if task is None else " ".join(transcript_of(values).casefold().split())
                part = values.get("split")
                gathered.add(name, place, turns, path.parent, said, part if isinstance(part, str) else "")
            except (ValueError, TypeError) as error:
                skipped.add(" ".join(str(error).split()), place)
    if not gathered.conversations:
        raise ValueError(
            "source must hold conversations, but none can be used: " + ("; ".join(skipped.lines()) or "empty")
        )


def prepare_conversations(
    source: Sequence[str],
    out: str | Path,
    *,
    task: str | None = None,
    audio_root: str | None = None,
    licence: str = "unknown",
    max_duration: float = 100.0,
    min_sample_rate: int = 16_000,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    seed: int = 0,
    num_jobs: int | None = None,
    overwrite: bool = False,
) -> tuple[dict[str, int], Skipped]:
    """Read conversations, check them and their audio, and write them; `spiritlm_pl.cli.prepare` has the arguments.

    Returns:
        The number of conversations of each split, and what was left out.

    Raises:
        FileNotFoundError: if a file of the source is missing.
        ValueError: if no conversation can be used, or the folder has those of other settings, without `overwrite`.
    """
    out, skipped = Path(out), _Listed()
    _check_out(out)
    if (address := next(filter(is_url, source), None)) is not None:  # audio is found beside the rows
        raise ValueError(f"source must be local files, folders or patterns, but {address} is not; download it first")
    check_fractions(validation_fraction, test_fraction)
    root = None if audio_root is None else Path(audio_root).expanduser()
    description: dict[str, Any] = {
        "source": ", ".join(str(Path(one).resolve()) for one in source),
        "arguments": {
            "task": task,
            "audio_root": None if root is None else str(root.resolve()),
            "max_duration": max_duration,
            "min_sample_rate": min_sample_rate,
            "validation_fraction": validation_fraction,
            "test_fraction": test_fraction,
            "seed": seed,
        },
    }
    check_corpus(out, **description, overwrite=overwrite)
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"audio_root must be a folder, but {found_at(root)}")
    with temporary_folder(out / GIVEN) as unnamed:
        gathered = _Gathered(out, unnamed, root)
        _read(source, task, gathered, skipped)
        gathered.name_given()
    spoken = gathered.spoken()
    rules = Rules(max_duration=max_duration, min_sample_rate=min_sample_rate)
    with replaced_corpus(out):
        cuts, lost = ingest_any(spoken, out, rules, num_jobs)
    reasons = {one.id: one.reason for one in lost}
    kept: dict[str, Conversation] = {}
    unheard: dict[str, str] = {}  # reason against each conversation whose audio cannot be used, by its place
    for name, conversation in gathered.conversations.items():
        reason = next((reasons[one.id] for one in gathered.utterances[name] if one.id in reasons), None)
        if reason is None:
            kept[name] = conversation
        else:
            unheard[gathered.places[name]] = reason
    shown: dict[str, str] = {}  # of reasons that differ in their values, that of the place which is told
    for place, reason in sorted(unheard.items()):
        example = shown.setdefault(NUMBER.sub("N", reason), reason)
        skipped.add(UNHEARD.format(example), place, own=UNHEARD.format(reason))
    if not kept:
        raise ValueError("source must hold conversations, but none can be used: " + "; ".join(skipped.lines()))
    split_of = _split_of([*kept], gathered, (validation_fraction, test_fraction), seed)
    owner = {one.id: name for name in kept for one in gathered.utterances[name]}
    by_split = {split: [cut for cut in cuts if split_of.get(owner.get(cut.id, ""), "") == split] for split in SPLITS}
    counts: dict[str, int] = {}
    for split in SPLITS:
        members = [conversation for name, conversation in kept.items() if split_of[name] == split]
        write_records(out / RECORDS_FILE.format(split), members)
        counts[split] = len(members)
    save_corpus(out, by_split, name=out.name, licence=licence, skipped=[*lost, *skipped.rows], **description)
    stored = (cut for of_split in by_split.values() for cut in of_split)
    drop_other_audio(out, stored, (one for one in spoken if one.path not in gathered.given))
    return counts, skipped
