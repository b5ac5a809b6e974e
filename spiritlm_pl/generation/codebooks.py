"""Frames of several codebooks in one sequence of tokens: how they are read, and how a model is kept to their order.

Tokens come in steps. A step holds one token of every codebook, in the streams' order; a codebook with a delay of d
holds the code of d frames before. Where speech begins, codebooks that are delayed join in later, and where it ends they
go on alone; where a stretch was cut out of longer speech, its first and last steps are whole.

Shapes: B batch, N tokens, T frames, C codebooks of all streams, V rows of the embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor

from spiritlm_pl.generation.stream import speech_places
from spiritlm_pl.vocabulary import Vocabulary

FAR = 1 << 40  # later than any place in a sequence


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


def codebook_frames(tokens: Sequence[int], vocabulary: Vocabulary) -> Tensor:
    """Return the codes (T, C) of the complete frames in speech token ids.

    Frames that lack a code, as those at the edges of a stretch of delayed speech do, are left out.

    Raises:
        ValueError: if an id is not of speech.
    """
    speech_places(tokens, vocabulary)  # checks the ids
    books = codebooks_of(vocabulary)
    firsts = torch.tensor([book.first for book in books])
    columns = (torch.searchsorted(firsts, torch.tensor(tokens, dtype=torch.long), right=True) - 1).tolist()
    codes: list[list[int]] = [[] for _ in books]
    for token, column in zip(tokens, columns, strict=True):
        codes[column].append(token - books[column].first)
    turns = [books[column].turn for column in columns]
    if not any(book.delay for book in books):
        return _frames_of_steps(codes_in_turn=list(zip(columns, turns, tokens, strict=True)), books=books)
    cut = len(turns) > len(books) and turns[: len(books)] == list(range(len(books)))  # the first step is whole
    for book, column in zip(books, codes, strict=True):
        del column[: book.delay if cut else 0]  # of frames before the stretch
    length = min(len(column) for column in codes)
    return torch.tensor([column[:length] for column in codes]).long().T.reshape(length, len(books))


def _frames_of_steps(codes_in_turn: Sequence[tuple[int, int, int]], books: Sequence[Codebook]) -> Tensor:
    """Return the codes (T, C) of complete frames without delays; a token whose turn is not later begins the next one.

    Args:
        codes_in_turn: column, turn and id of each token.
        books: all codebooks of the vocabulary.
    """
    frames: list[dict[int, int]] = []
    last = len(books)
    for column, turn, token in codes_in_turn:
        if turn <= last:
            frames.append({})
        frames[-1][column] = token - books[column].first
        last = turn
    whole = [[frame[column] for column in range(len(books))] for frame in frames if len(frame) == len(books)]
    return torch.tensor(whole).long().reshape(len(whole), len(books))


class CodebooksInTurn(LogitsProcessor):
    """Logits processor that allows speech tokens only in their codebook's turn, and other tokens only between steps.

    The first codebook decides whether speech goes on: either it gives the code of one more frame, or the other
    codebooks complete the frames that they lack, after which speech may begin anew.

    Args:
        vocabulary: layout of the token ids.
        num_rows: number of rows of the embedding, V.
    """

    def __init__(self, vocabulary: Vocabulary, num_rows: int) -> None:
        """Work out the turn of each token."""
        books = sorted(codebooks_of(vocabulary), key=lambda book: book.turn)
        self.delays = torch.tensor([book.delay for book in books])
        self.turns = torch.full((num_rows,), -1)
        for book in books:
            self.turns[book.first : book.first + book.size] = book.turn

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (B, V) of the tokens after `input_ids` (B, N), with -inf for those that are not allowed."""
        table, delays = self.turns.to(scores.device), self.delays.to(scores.device)
        turns = table[input_ids]
        last = turns[:, -1]  # (B,) -1 where nothing of speech stands there
        steps, frames = self._progress(turns, delays)
        number = steps[:, 0]
        # The codebook whose token is next in time, of those that lack frames of the first one.
        lacking = frames < number[:, None]
        places = torch.where(lacking, steps * len(delays) + torch.arange(len(delays), device=steps.device), FAR)
        soonest = places.argmin(1)
        is_lacking = lacking.any(1)
        late = is_lacking & (steps.gather(1, soonest[:, None])[:, 0] < number)  # before the first one goes on
        finishing = (last > 0) & (steps.gather(1, last.clamp(min=0)[:, None])[:, 0] > number)
        free = (last < 0) | ~(late | (finishing & is_lacking))
        owed = (last >= 0) & is_lacking
        allowed = (free[:, None] & (table <= 0)) | (owed[:, None] & (table == soonest[:, None]))
        return scores.masked_fill(~allowed, -torch.inf)

    @staticmethod
    def _progress(turns: Tensor, delays: Tensor) -> tuple[Tensor, Tensor]:
        """Return the step at which each codebook comes next, and its frames so far, both (B, C), from turns (B, N)."""
        spoken = (turns >= 0).flip(1).long().cummin(1).values.flip(1).bool()  # the stretch of speech at the end
        books = torch.arange(len(delays), device=turns.device)
        counts = ((turns[:, :, None] == books) & spoken[:, :, None]).sum(1)
        # The first step is whole where the stretch was cut out of longer speech; see `codebook_frames`.
        length, size = spoken.sum(1), turns.shape[1]
        places = (size - length[:, None] + books).clamp(max=size - 1)
        cut = (length > len(books)) & (turns.gather(1, places) == books).all(1)
        frames = counts - cut[:, None] * delays
        return frames + delays, frames
