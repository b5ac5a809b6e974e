"""Keeping a language model to the order of the codebooks in a stretch of speech.

Shapes: B batch, N tokens, C codebooks of all streams, D frames of the largest delay, V rows of the embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from spiritlm_pl.generation.codebooks import codebooks_of, open_stretch
from spiritlm_pl.vocabulary import Vocabulary

FAR = 1 << 40  # later than any place in a sequence
NOTHING = -1


class CodebooksInTurn:
    """Allow a token of speech only where it is its codebook's turn, and all else only where no frame lacks a code.

    Between two steps, the first codebook decides: it goes on to the next frame, or leaves the others to close the
    stretch, after which no speech follows in it. Delayed codes of a prompt's last frames are known, and given.

    Args:
        vocabulary: layout of the ids.
        num_rows: rows of the embedding, V.
        may_close: whether the model may close a stretch; False where nothing is allowed to follow one, so that speech
            goes on until its limit.
        stretches: speech at the end of each prompt (B), each a whole stretch of which the prompt holds the beginning up
            to the closing steps; empty for a prompt without. None for prompts that are not known.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        num_rows: int,
        may_close: bool = True,
        stretches: Sequence[Sequence[int]] | None = None,
    ) -> None:
        """Work out the turn of each token, and what is known of the prompts."""
        self.may_close = may_close
        books = sorted(codebooks_of(vocabulary), key=lambda book: book.turn)
        self.delays = torch.tensor([book.delay for book in books])
        self.turns = torch.full((num_rows,), NOTHING)
        for book in books:
            self.turns[book.first : book.first + book.size] = book.turn
        self.delayed = bool(self.delays.any())
        self.length: int | None = None  # of the prompts, with padding
        begun = [open_stretch(stretch, vocabulary) for stretch in stretches or ()]
        self.lengths = torch.tensor([len(tokens) for tokens in begun])  # (B,)
        # Frames of each codebook that each prompt has (B, C), and ids (B, C, D) of the codes that follow; then NOTHING.
        self.starts = torch.zeros(len(begun), len(books), dtype=torch.long)
        self.known = torch.full((len(begun), len(books), int(self.delays.max())), NOTHING)
        if self.delayed:
            for row, (stretch, tokens) in enumerate(zip(stretches or (), begun, strict=True)):
                said = self.turns[torch.tensor(tokens, dtype=torch.long)]
                self.starts[row] = torch.bincount(said, minlength=len(books))
                counts = [0] * len(books)
                for token in stretch[len(tokens) :]:
                    turn = int(self.turns[token])
                    self.known[row, turn, counts[turn]] = token
                    counts[turn] += 1

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (B, V) with -inf where banned, after tokens (B, N)."""
        if self.turns.device != scores.device:  # once, not at every token
            for name in ("turns", "delays", "lengths", "starts", "known"):
                setattr(self, name, getattr(self, name).to(scores.device))
        if self.length is None:
            self.length = input_ids.shape[1]
        turns = self.turns[input_ids]
        last = turns[:, -1]  # (B,) NOTHING where no speech stands there
        frames, spoken = self._progress(turns)
        steps = frames + self.delays  # at which each codebook comes next
        number = frames[:, 0]
        # The codebook whose token is next in time, of those that lack frames of the first one.
        lacking = frames < number[:, None]
        places = steps * len(self.delays) + torch.arange(len(self.delays), device=last.device)
        soonest = torch.where(lacking, places, FAR).argmin(1)
        owed = lacking.any(1)
        late = owed & (steps.gather(1, soonest[:, None])[:, 0] < number)  # before the first one goes on
        ahead = (last > 0) & (steps.gather(1, last.clamp(min=0)[:, None])[:, 0] > number)
        closing = ahead & self.delayed
        other = ~owed
        first = ~(late | closing) | (other & (not self.may_close))
        soon = owed & (late | closing | self.may_close)
        table = self.turns
        allowed = (other[:, None] & (table < 0)) | (first[:, None] & (table == 0))
        allowed |= soon[:, None] & (table == soonest[:, None])
        if self.known.numel():
            allowed &= self._given(frames, spoken, soonest, input_ids.shape[1])
        return scores.masked_fill(~allowed, -torch.inf)

    def _given(self, frames: Tensor, spoken: Tensor, soonest: Tensor, size: int) -> Tensor:
        """Mask (B, V) that leaves one token of the soonest codebook where a prompt's stretch still lacks a known code.

        Args:
            frames: frames so far of each codebook (B, C).
            spoken: tokens of the stretch at the end (B,).
            soonest: turn of the codebook that comes next in time (B,).
            size: length of the sequences, N.
        """
        assert self.length is not None
        within = (self.lengths > 0) & (spoken == self.lengths + size - self.length)
        place = (frames - self.starts).gather(1, soonest[:, None])  # (B, 1)
        of_book = self.known[torch.arange(len(soonest), device=soonest.device), soonest]  # (B, D)
        token = of_book.gather(1, place.clamp(0, of_book.shape[1] - 1))
        token = torch.where(within[:, None] & (place < of_book.shape[1]), token, NOTHING)
        ids = torch.arange(len(self.turns), device=token.device)
        return (token < 0) | (self.turns != soonest[:, None]) | (ids == token)

    def _progress(self, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Frames so far of each codebook (B, C) in the stretch at the end of turns (B, N), and its tokens (B,)."""
        spoken = (turns >= 0).flip(1).long().cummin(1).values.flip(1).bool()
        books = torch.arange(len(self.delays), device=turns.device)
        return ((turns[:, :, None] == books) & spoken[:, :, None]).sum(1), spoken.sum(1)
