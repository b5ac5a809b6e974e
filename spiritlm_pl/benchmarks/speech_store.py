"""Speech tokens of audio files, kept by the content of the file and by the tokenizer, so that none is computed twice.

A benchmark has the same recordings for every model of one speech tokenizer, and many models are measured with it.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import nn

from spiritlm_pl.benchmarks.identity import FORMAT, settings_of
from spiritlm_pl.benchmarks.items import ChoiceItem
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.types import Piece, Speech
from spiritlm_pl.runtime.provenance import file_sha256
from spiritlm_pl.storage.user_cache import cache_folder

if TYPE_CHECKING:
    from spiritlm_pl.vocabulary import Vocabulary

BATCH_SECONDS = 60  # of audio that is tokenized together


def network_fingerprint(network: nn.Module, vocabulary: "Vocabulary") -> str:
    """Hash all that the tokens of a speech tokenizer depend on: settings, weights, and the order of its streams."""
    layout = json.dumps(vocabulary.layout.to_dict(), sort_keys=True)
    digest = sha256(f"{FORMAT} {layout}".encode())
    for setting in settings_of(network):
        digest.update(setting.encode())
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.detach().cpu().contiguous().view(-1).float().numpy().tobytes())
    return digest.hexdigest()


class SpeechStore:
    """Store of speech tokens in a folder, one file for each speech tokenizer.

    Args:
        codec: codec with the speech tokenizer; one without reads no audio.
        folder: folder of the store, shared by all models and benchmarks; None to keep nothing.
    """

    def __init__(self, codec: SpeechCodec, folder: str | Path | None = None) -> None:
        """Read what is kept for this tokenizer."""
        self.codec = codec
        self.first = codec.vocabulary.speech_bounds[0]
        self.file: Path | None = None
        self.kept: dict[str, npt.NDArray[np.int32]] = {}  # compact, as all recordings of a benchmark are kept
        self.num_computed = 0
        tokenizer = codec.tokenizer
        if folder is None or not isinstance(tokenizer, nn.Module):
            return
        name = network_fingerprint(tokenizer, codec.vocabulary) + ("-half" if codec.half else "")
        self.file = cache_folder(folder) / f"{name}.jsonl"
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.kept.update(self._read())

    def _read(self) -> Iterator[tuple[str, npt.NDArray[np.int32]]]:
        if self.file is None or not self.file.is_file():
            return
        for line in self.file.read_bytes().splitlines():
            try:
                found = json.loads(line)
                yield found["audio"], np.array(found["tokens"], dtype=np.int32)
            except (ValueError, KeyError, TypeError):  # cut off when a run was killed
                continue

    def with_tokens(self, items: Sequence[ChoiceItem]) -> list[ChoiceItem | Exception]:
        """Return items whose speech has tokens, or the reason why an item has none.

        Raises:
            OSError: if the store cannot be written.
        """
        parts = [part for item in items for part in (item.context, item.right, item.wrong)]
        filled = iter(self.pieces_with_tokens(parts))
        found: list[ChoiceItem | Exception] = []
        for item in items:
            own = [next(filled) for _ in range(3)]
            good = [part for part in own if not isinstance(part, Exception)]
            if len(good) == len(own):
                context, right, wrong = good
                found.append(replace(item, context=context, right=right, wrong=wrong))
            else:
                found.append(next(part for part in own if isinstance(part, Exception)))
        return found

    def pieces_with_tokens(self, sequences: Sequence[Sequence[Piece]]) -> list[tuple[Piece, ...] | Exception]:
        """Return sequences of pieces whose speech has tokens, or the reason why a sequence has none.

        Raises:
            OSError: if the store cannot be written.
        """
        found = self._tokens(piece for pieces in sequences for piece in pieces if isinstance(piece, Speech))
        return [_filled(pieces, found) for pieces in sequences]

    def _tokens(self, pieces: Iterable[Speech]) -> dict[str, Speech | Exception]:
        """Return speech with tokens by the path of its audio."""
        found: dict[str, Speech | Exception] = {}
        new: dict[str, tuple[str, Speech]] = {}  # audio that is not kept, by its hash
        same: dict[str, list[str]] = {}
        for piece in pieces:
            path = str(piece.audio)
            if piece.tokens is not None or piece.units is not None or path in found:
                continue
            try:
                if self.codec.tokenizer is None:
                    raise ValueError("audio needs the model's speech tokenizer, but it has none")
                name = file_sha256(Path(path))
                if name in self.kept:
                    found[path] = Speech(tokens=tuple((self.first + self.kept[name]).tolist()))
                    continue
                same.setdefault(name, []).append(path)
                if name not in new:
                    new[name] = (path, self.codec.checked(piece))
            except Exception as error:  # whatever a decoder raises is this file's
                found[path] = error
        for name, speech in self._computed(new):
            for path in same[name]:
                found[path] = speech
        return found

    def _computed(self, new: dict[str, tuple[str, Speech]]) -> Iterator[tuple[str, Speech | Exception]]:
        """Tokenize audio in batches of similar lengths, and keep the tokens."""
        ordered = sorted(new, key=lambda name: len(new[name][1].waveform))
        while ordered:
            longest = len(new[ordered[-1]][1].waveform) / new[ordered[-1]][1].sample_rate
            size = max(1, int(BATCH_SECONDS / longest))
            batch, ordered = ordered[-size:], ordered[:-size]
            results = self._encoded([new[name][1] for name in batch])
            self.num_computed += len(batch)
            lines = []
            for name, result in zip(batch, results, strict=True):
                if isinstance(result, Speech):
                    assert result.tokens is not None
                    tokens = [token - self.first for token in result.tokens]
                    self.kept[name] = np.array(tokens, dtype=np.int32)
                    lines.append(json.dumps({"audio": name, "tokens": tokens}) + "\n")
                yield name, Speech(tokens=result.tokens) if isinstance(result, Speech) else result
            if self.file is not None:
                with self.file.open("a", encoding="utf-8") as stream:
                    stream.write("".join(lines))

    def _encoded(self, batch: Sequence[Speech]) -> list[Speech | Exception]:
        """Tokenize a batch; if one of it breaks the tokenizer, each by itself, so that the others have their tokens."""
        try:
            return list(self.codec.encode_batch(batch))
        except Exception as error:  # whatever a tokenizer raises is that of a recording
            return [error] if len(batch) == 1 else [one for speech in batch for one in self._encoded([speech])]


def _filled(pieces: Sequence[Piece], found: dict[str, Speech | Exception]) -> tuple[Piece, ...] | Exception:
    filled: list[Piece] = []
    for piece in pieces:
        if not isinstance(piece, Speech) or piece.tokens is not None or piece.units is not None:
            filled.append(piece)
            continue
        result = found[str(piece.audio)]
        if isinstance(result, Exception):
            error = ValueError(f"{piece.audio}: {result}")
            error.__cause__ = result
            return error
        filled.append(result)
    return tuple(filled)
