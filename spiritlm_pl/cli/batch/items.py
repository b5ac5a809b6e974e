"""Input and output that `spiritlm tokenize`, `vocode`, `score` and `generate --jsonl` share.

An item whose line is written is done, and the same command skips it when it is run again. An item that fails has a line
with `error`, is counted, and is tried again the next time; the others are done all the same, and the exit status is 1.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from spiritlm_pl.corpora.files import files_below, plain_name, short_name
from spiritlm_pl.runtime.claims import only_writer
from spiritlm_pl.runtime.found import found_at

if TYPE_CHECKING:
    from spiritlm_pl.generation.prompt import Prompting
    from spiritlm_pl.generation.types import Piece
    from spiritlm_pl.vocabulary import Vocabulary

Item = dict[str, Any]
STANDARD = "-"
MODEL = Path("quickstart/model")
PROMPT_PIECES = ({"text"}, {"audio"})


def best_device(asked: str | None) -> str:
    """Return the device that is asked for, or the best one of this machine.

    Raises:
        ValueError: if this machine does not have the device.
    """
    import torch

    from spiritlm_pl.runtime.devices import check_device

    return str(check_device(asked or ("cuda" if torch.cuda.is_available() else "cpu")))


def read_items(inputs: Sequence[str], several: bool | None = None) -> Iterator[Item]:
    """Read items from JSON lines; each gets an `id` if it has none: its line's number, after its file if several are.

    Args:
        inputs: files of JSON lines, or `-` for standard input.
        several: whether these are some of several inputs; None if they are all.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a line is not a JSON object.
    """
    several = len(inputs) > 1 if several is None else several
    for name in inputs:
        if name != STANDARD and not Path(name).is_file():
            raise FileNotFoundError(f"INPUT must be a file of JSON lines or -, but {found_at(name)}")
        stream = sys.stdin if name == STANDARD else Path(name).open(encoding="utf-8-sig")
        with stream:
            for number, line in enumerate(_lines(stream, name), start=1):
                if not line.strip():
                    continue
                try:
                    item = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"line {number} of {name} must be JSON, but is not: {error}") from None
                if not isinstance(item, dict):
                    raise ValueError(f"line {number} of {name} must be a JSON object, but is {line.strip()[:40]!r}")
                if item.get("id", "") is None:
                    del item["id"]
                own = f"{name}:{number}" if several else str(number)
                yield {"id": str(item.get("id", own)), **{key: item[key] for key in item if key != "id"}}


def _lines(stream: IO[str], name: str) -> Iterator[str]:
    try:
        yield from stream
    except UnicodeDecodeError as error:
        raise ValueError(f"lines of {name} must be UTF-8, but are not: {error}") from None


def audio_items(inputs: Sequence[str]) -> Iterator[Item]:
    """Read items from audio files, folders with audio, and JSON lines with `audio` (files end in .json or .jsonl)."""
    from spiritlm_pl.corpora.decoding import AUDIO_SUFFIXES

    for name in inputs:
        path = Path(name)
        if path.is_dir():
            files = [one for one in files_below(path) if one.suffix.lower() in AUDIO_SUFFIXES]
            if not files:
                raise ValueError(f"INPUT must be a folder with audio, but {name} holds none")
            for found in files:
                yield {"id": str(found), "audio": str(found)}
        elif name == STANDARD or path.suffix in (".json", ".jsonl"):
            for item in read_items([name], several=len(inputs) > 1):
                if "audio" not in item:
                    raise ValueError(f"a line of {name} must have audio, but {item['id']} has none")
                yield item
        else:
            yield {"id": name, "audio": name}


def pieces(found: Any) -> "list[Piece] | str":
    """Read a prompt: a string of words and tokens, or a list of `{"text": ...}` and `{"audio": FILE}`.

    Raises:
        ValueError: if the value is neither.
    """
    from spiritlm_pl.generation.types import Speech, Text

    if isinstance(found, str):
        return found
    if not isinstance(found, list) or not all(isinstance(one, dict) and set(one) in PROMPT_PIECES for one in found):
        raise ValueError(f"a prompt must be a string or a list of text and audio, but is {found!r} instead")
    for one in found:
        for name, value in one.items():
            if not isinstance(value, str):
                raise ValueError(f"{name} of a prompt must be a string, but is {value!r} instead")
    return [Text(one["text"]) if "text" in one else Speech(one["audio"]) for one in found]


def asked(item: Item, key: str, vocabulary: "Vocabulary") -> "Prompting":
    """Read what a line asks: its `messages`, or else the prompt under a key, as `pieces` does; null counts as left out.

    Raises:
        ValueError: if it has both, or neither can be read.
    """
    if item.get("messages") is None:
        if item.get(key) is None:
            raise ValueError(f"a line must have {key} or messages, but has {', '.join(item)} alone")
        return pieces(item.get(key))
    if item.get(key) is not None:
        raise ValueError(f"a line must have {key} or messages, but has both")
    from spiritlm_pl.generation.messages import dialogue_of

    return dialogue_of(item, vocabulary)


def warn_of_unknown(characters: Iterable[str]) -> None:
    """Print a warning of characters of prompts that a text tokenizer has no tokens for; nothing if there are none."""
    from spiritlm_pl.generation.prompt import told_of_unknown

    told = told_of_unknown(characters)
    if told is not None:
        print(f"warning: {told}", file=sys.stderr)


class LinesWriter:
    """Writer of lines that skips ids of an earlier run, counts errors, and shows a progress bar.

    Args:
        out: file that lines are appended to; None for standard output.
        inputs: files that are read, none of which may be `out`.
        argument: name of the argument that gives `out`, for errors.

    Raises:
        ValueError: if the output is one of the inputs; when it is entered, if another process writes the output, or no
            earlier run has written it.
    """

    def __init__(self, out: Path | None, inputs: Sequence[str], argument: str = "out") -> None:
        """Prepare the progress bar; nothing is read or written until it is entered."""
        for name in inputs:
            if out is not None and name != STANDARD and Path(name).resolve() == out.resolve():
                raise ValueError(f"the output must be another file than the input, but both are {name}")
        self.out, self.done, self.errors = out, set[str](), 0
        self.stream: IO[str] = sys.stdout
        self._argument, self._entered = argument, ExitStack()
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def left(self, items: Iterable[Item]) -> list[Item]:
        """Yield the items that are not done, in their order.

        Raises:
            ValueError: if two items have the same id.
        """
        found: dict[str, Item] = {}
        for item in items:
            if found.setdefault(item["id"], item) is not item:
                raise ValueError(
                    f"id must be another one for every item, but two have {item['id']}: it is given twice, or is the "
                    "number of a line without an id"
                )
        before = len(found)
        found = {name: item for name, item in found.items() if name not in self.done}
        if len(found) < before:
            print(f"{before - len(found)} of {before} items were done before; they stay as they are", file=sys.stderr)
        self.task = self.bar.add_task("done", total=len(found))
        return list(found.values())

    def write(self, item: Item, **values: Any) -> None:
        """Write the line of an item."""
        self.errors += "error" in values
        self.stream.write(_line({"id": item["id"], **values}))
        self.stream.flush()
        self.bar.advance(self.task)

    def __enter__(self) -> "LinesWriter":
        """Claim the output, read the lines of an earlier run, remove those with errors, and show the progress bar."""
        with ExitStack() as entered:
            if self.out is not None:
                entered.enter_context(only_writer(self.out, self._argument, file=True))
                self.stream = entered.enter_context(self._continued(self.out))
            self.bar.start()
            entered.callback(self.bar.stop)
            self._entered = entered.pop_all()
        return self

    def _continued(self, out: Path) -> IO[str]:
        kept = [line for line in _whole_lines(out, self._argument) if "error" not in line]
        self.done = {line["id"] for line in kept}
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_file():
            temporary = out.with_name(f".{out.name}.tmp")
            temporary.write_text("".join(map(_line, kept)), encoding="utf-8")
            temporary.replace(out)
        return out.open("a", encoding="utf-8")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the progress bar; if an item failed, print how many did, and exit with 1."""
        self._entered.close()
        if self.errors and kind is None:
            where = self.out or "the output"
            items = "1 item" if self.errors == 1 else f"{self.errors} items"
            print(f"{items} could not be done: the field error in {where} says why", file=sys.stderr)
            raise SystemExit(1)  # so that a script does not take the output for whole


def _line(values: Item) -> str:
    """Return a line of JSON; half a surrogate pair, which UTF-8 cannot hold, becomes its escape."""
    return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace").decode()


def _whole_lines(path: Path, argument: str) -> Iterator[Item]:
    """Return the lines of an earlier run; the last one is left out if it was cut off.

    Raises:
        ValueError: if another line was not written by these commands.
    """
    if not path.is_file():
        return
    lines = path.read_bytes().decode("utf-8", errors="replace").split("\n")  # texts may hold other line ends
    for number, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
            found["id"]
        except (ValueError, TypeError, KeyError):
            if number == len(lines):  # without a line end it was cut off
                return
            raise ValueError(
                f"{argument} must be a file of an earlier run, but line {number} of {path} is {line[:40]!r}"
            ) from None
        yield found


def file_name(name: str) -> str:
    """Return a file name for an id, without folders and special characters; different ids get different names."""
    plain = plain_name(name, "-").strip(".-")
    digest = sha256(name.encode(errors="backslashreplace")).hexdigest()[:8]
    return short_name(name if plain == name else f"{plain}-{digest}")
