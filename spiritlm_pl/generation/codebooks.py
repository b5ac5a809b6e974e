"""Frames of several codebooks in one sequence of tokens: written as a stretch of speech, and read from one.

`spiritlm_pl.data.steps` shows the order. A stretch that may go on ends before its closing steps; a modality token or
text ends it. A stretch is read step by step, so that a code that is missing, or stands out of its turn, costs its own
frame and no later one. Frames that lack a code are left out, such as those at the end of an answer that was cut before
its closing steps.

Shapes: T frames, C codebooks of all streams.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spiritlm_pl.data.merge import speech_places
from spiritlm_pl.data.steps import in_steps, open_length
from spiritlm_pl.vocabulary import Vocabulary


@dataclass(frozen=True)
class Codebook:
    """Token ids of a codebook and its place in the sequence.

    Attributes:
        first: id of its first token.
        size: number of its tokens.
        turn: place of its token within a step, from 0.
        delay: number of frames by which its tokens are delayed.
    """

    first: int
    size: int
    turn: int
    delay: int


def codebooks_of(vocabulary: Vocabulary) -> list[Codebook]:
    """Return all codebooks of a vocabulary in the order of their ids, which is that of the columns of frames."""
    found = [(stream, codebook) for stream in vocabulary.streams for codebook in range(stream.num_codebooks)]
    in_turn = sorted(range(len(found)), key=lambda number: (found[number][0].order, number))
    return [
        Codebook(
            first=vocabulary.token(stream.name, 0, codebook),
            size=stream.size,
            turn=in_turn.index(number),
            delay=stream.delays[codebook] if stream.delays else 0,
        )
        for number, (stream, codebook) in enumerate(found)
    ]


class FrameReader:
    """Read one stretch of speech token by token.

    A token whose codebook does not follow in its step begins the next step, or the first step that has its codebook.
    From step and delay follows the frame of a code, whatever is missing before.

    Args:
        vocabulary: layout of the ids.
        before: tokens at the beginning of the stretch whose frames are known; with delays, a stretch that may go on.

    Attributes:
        strange: first token that is out of its turn; None while there is none.
    """

    def __init__(self, vocabulary: Vocabulary, before: Iterable[int] = ()) -> None:
        """Start a stretch."""
        self._books = codebooks_of(vocabulary)
        self._firsts = [book.first for book in self._books]
        self._last_column = max(range(len(self._books)), key=lambda column: self._books[column].turn)
        self._step, self._turn = -1, len(self._books)  # of the token before
        self._frames: dict[int, dict[int, int]] = {}  # code of each column, of frames that may still become whole
        self._following = [0] * len(self._books)  # frame whose code comes next in each column
        self._known = 0
        self.strange: int | None = None
        for token in before:
            self.add(token)
        self._known = self._step + 1 if vocabulary.layout.delays else 0

    def add(self, token: int) -> list[int] | None:
        """Read the next token of speech, and return the codes (C,) of the frame that is whole with it, if one is."""
        column = bisect_right(self._firsts, token) - 1
        book = self._books[column]
        self._step = max(self._step + (book.turn <= self._turn), book.delay)
        self._turn = book.turn
        frame = self._step - book.delay
        if frame != self._following[column] and self.strange is None:
            self.strange = token
        self._following[column] = frame + 1
        self._frames.setdefault(frame, {})[column] = token - book.first
        if column != self._last_column:
            return None
        codes = self._frames[frame]
        # The last codebook of a frame comes last, in the order of the frames: no earlier frame can become whole.
        for gone in [number for number in self._frames if number <= frame]:
            del self._frames[gone]
        if len(codes) < len(self._books) or frame < self._known:
            return None
        return [codes[number] for number in range(len(self._books))]


def codebook_frames(tokens: Sequence[int], vocabulary: Vocabulary, before: Sequence[int] = ()) -> Tensor:
    """Read the codes (T, C) of the whole frames in the tokens of one stretch of speech.

    Args:
        tokens: token ids of speech.
        vocabulary: layout of the ids.
        before: beginning of the stretch, as in `FrameReader`, whose frames are left out.

    Raises:
        ValueError: if an id is not of speech.
    """
    return _read(tokens, vocabulary, FrameReader(vocabulary, before))


def _read(tokens: Sequence[int], vocabulary: Vocabulary, reader: FrameReader) -> Tensor:
    speech_places(tokens, vocabulary)  # checks the ids
    frames = [frame for token in tokens if (frame := reader.add(token)) is not None]
    return torch.tensor(frames).long().reshape(len(frames), len(codebooks_of(vocabulary)))


def stretch_tokens(frames: Tensor, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Token ids of a whole stretch of speech with the codes (T, C) of its frames."""
    books = codebooks_of(vocabulary)
    columns = sorted(range(len(books)), key=lambda column: books[column].turn)
    ids = frames.numpy() + np.array([book.first for book in books])
    return tuple(in_steps(ids[:, columns].reshape(-1), vocabulary).tolist())


def joined_speech(parts: Sequence[Sequence[int]], vocabulary: Vocabulary) -> tuple[int, ...]:
    """Token ids of one stretch of speech out of several that follow each other.

    Without delays these are all tokens as they are.

    Raises:
        ValueError: with delays, if an id is not of speech, a token is out of its turn, or there is no whole frame. An
            end without its closing steps is no error: the frames that lack codes are left out.
    """
    if not vocabulary.layout.delays:
        return tuple(token for part in parts for token in part)
    frames = []
    for part in parts:
        reader = FrameReader(vocabulary)
        frames.append(_read(part, vocabulary, reader))
        if not len(frames[-1]):
            raise ValueError("speech must hold at least one frame with a code of every codebook, but holds none")
        if reader.strange is not None:
            raise ValueError(
                f"speech must be in the order of the codebooks with delays {list(vocabulary.layout.delays)}, "
                f"but {vocabulary.name(reader.strange)} is out of its turn (was it written without these delays?)"
            )
    return stretch_tokens(torch.cat(frames), vocabulary)


def open_stretch(tokens: Sequence[int], vocabulary: Vocabulary) -> tuple[int, ...]:
    """The beginning of a whole stretch of speech, up to its closing steps, so that speech can go on."""
    if not vocabulary.layout.delays:
        return tuple(tokens)
    return tuple(tokens[: open_length(len(tokens) // vocabulary.layout.tokens_per_frame, vocabulary)])
