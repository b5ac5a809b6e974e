"""Identity of models in results and in the store of speech tokens, so that those of two models never mix."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from spiritlm_pl.benchmarks.readers.files import AUDIO_SUFFIXES
from spiritlm_pl.corpora.files import files_below
from spiritlm_pl.generation.types import Speech, Text

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM

SAMPLE = 64  # values at both ends of a weight that its hash is made from
ENDS = 1 << 16  # bytes at either end of a file that its hash is made from
HEARD = 1 << 13  # bytes at either end and in the middle of an audio file that its hash is made from
FORMAT = 1  # of lines and of kept tokens; another number if code gives others for the same model and audio
# Options that name what judges and shots are read from.
JUDGES = (
    "language_model",
    "classifier",
    "word_list",
    "whisper",
    "vocabulary",
    "speech_judge",
    "text_judge",
    "stop_audio",
    "template",
    "spellings",
)
PLAIN = (bool, int, float, str, type(None))
UNTIED = ("_name_or_path", "transformers_version", "name_or_path")  # of configurations; nothing depends on them


def model_identity(model: "SpiritLM") -> dict[str, str | int | None]:
    """Return hashes of the language model, the text tokenizer and the speech tokenizer (None for none).

    Those of networks are made from all settings, the names and shapes of all weights, and some values of each: quick
    for 7B, and different for any two models that were trained.
    """
    tokenizer = model.speech_tokenizer
    return {
        "language_model": _hash(model.model, json.dumps(model.vocabulary.to_dict(), sort_keys=True)),
        "text_tokenizer": model.text_tokenizer.fingerprint[:16],
        "speech_tokenizer": _hash(tokenizer, "") if isinstance(tokenizer, nn.Module) else None,
        "dtype": str(model.model.dtype).removeprefix("torch."),
        "format": FORMAT,
    }


def named_content(options: Mapping[str, Any]) -> dict[str, str]:
    """Hash the files and folders that options name for judging, by the option.

    Names and sizes of all files count, and both ends of those that are no audio: quick, and different for any two
    models. A judge on the Hugging Face hub has its name alone.
    """
    paths = {name: Path(str(options[name])).expanduser() for name in JUDGES if options.get(name)}
    return {name: _content(path) for name, path in paths.items() if path.exists()}


def _content(path: Path) -> str:
    digest = sha256()
    for file in files_below(path) if path.is_dir() else [path]:
        size = file.stat().st_size
        digest.update(f"{file.relative_to(path)} {size}".encode(errors="surrogateescape"))
        if file.suffix.lower() in AUDIO_SUFFIXES:
            continue
        with file.open("rb") as stream:
            digest.update(stream.read(ENDS))
            stream.seek(max(0, size - ENDS))
            digest.update(stream.read(ENDS))
    return digest.hexdigest()[:16]


def content_of(item: Any) -> str:
    """Hash what an item is made of: its fields, samples and units of speech, and sizes and times of audio files.

    A line of results is of use as long as this is the same.
    """
    return _digest(_parts_of(item, _state))


def asked_of(item: Any) -> str:
    """Hash what an item asks: all its fields, and what its audio files hold, whatever their names and times.

    Lines of two models can be compared if this is the same, also if they are of copies of the data.
    """
    return _digest(_parts_of(item, _heard))


def digest_of(hashes: Mapping[str, str]) -> str:
    """Hash the hashes of items, by their ids, whatever their order."""
    return _digest(sorted(hashes.items()))


def _digest(parts: Any) -> str:
    return sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _state(path: Path) -> Any:
    state = path.stat() if path.is_file() else None
    return [path.name, state and (state.st_size, state.st_mtime_ns)]


def _heard(path: Path) -> Any:
    try:
        state = path.stat()
        return [state.st_size, _ends_of(path, state.st_size, state.st_mtime_ns)]
    except (OSError, ValueError):  # no file, or one that cannot be read, which is told where it is heard
        return None


@lru_cache(maxsize=1 << 16)
def _ends_of(path: Path, size: int, _time: int) -> str:
    """Hash both ends and the middle of a file; the time is for files that change between two calls."""
    digest = sha256()
    with path.open("rb") as stream:
        for start in (0, max(0, size - HEARD) // 2, max(0, size - HEARD)):
            stream.seek(start)
            digest.update(stream.read(HEARD))
    return digest.hexdigest()[:16]


def _parts_of(value: Any, of_file: Callable[[Path], Any]) -> Any:
    if isinstance(value, Speech) and value.tokens is None and not (value.audio is None and value.units is None):
        return _parts_of_speech(value, of_file)
    if isinstance(value, Speech | Text):
        return [getattr(value, "text", None), value.tokens]
    if isinstance(value, Tensor | np.ndarray):  # whose repr leaves out most of a long one
        kind = str(value.dtype).removeprefix("torch.")
        if isinstance(value, Tensor):  # as bytes, since numpy lacks some of torch's types
            data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        else:
            data = value.tobytes()
        return [kind, list(value.shape), sha256(data).hexdigest()[:16]]
    if isinstance(value, Path):
        return of_file(value)
    if of_file is _heard and isinstance(value, str) and value.startswith("/") and (held := _heard(Path(value))):
        return held  # a label that tells the path of a recording
    if is_dataclass(value):
        return [_parts_of(getattr(value, field.name), of_file) for field in fields(value)]
    if isinstance(value, Mapping):
        return [[str(key), _parts_of(one, of_file)] for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [_parts_of(one, of_file) for one in value]
    return value if isinstance(value, PLAIN) else repr(value)


def _parts_of_speech(speech: Speech, of_file: Callable[[Path], Any]) -> Any:
    audio = Path(speech.audio) if isinstance(speech.audio, str) else speech.audio
    if isinstance(audio, Path) and speech.units is None:
        return of_file(audio)
    return [_parts_of(one, of_file) for one in (audio, speech.sample_rate, speech.units, speech.durations)]


def settings_of(network: nn.Module) -> Iterator[str]:
    """Yield all that a network's output depends on beside its weights: classes, configurations and plain attributes."""
    for name, module in network.named_modules():
        yield f"{name} {type(module).__module__}.{type(module).__qualname__}"
        for key, value in sorted(vars(module).items()):
            if key == "training" or key.startswith("_") or key in UNTIED:
                continue
            if hasattr(value, "to_dict") and not isinstance(value, nn.Module):  # a configuration of transformers
                value = {one: other for one, other in value.to_dict().items() if one not in UNTIED}
            if is_plain(value):
                yield f"{name}.{key} {value!r}"


def is_plain(value: Any) -> bool:
    """Return whether a value is a number, a text, a data class, or a collection of these."""
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if is_dataclass(value) and not isinstance(value, type):
        return " at 0x" not in repr(value)  # else it holds an object that is another one in each process
    return isinstance(value, PLAIN)


def _hash(network: nn.Module, description: str) -> str:
    digest = sha256(description.encode())
    for setting in settings_of(network):
        digest.update(setting.encode())
    for name, values in sorted(network.state_dict().items()):
        flat = values.detach().reshape(-1)
        some = [*flat[:SAMPLE].tolist(), *flat[-SAMPLE:].tolist()]
        digest.update(f"{name} {tuple(values.shape)} {some}".encode())
    return digest.hexdigest()[:16]
