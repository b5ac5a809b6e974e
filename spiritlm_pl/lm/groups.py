"""Documents of about the same length side by side, so that one matrix product serves several of them.

The products of attention inside one document are small: each call costs as much as its arithmetic, and each new length
costs the library a kernel of its own. So documents are padded to a multiple of `STEP` tokens and those of one padded
length are put together. Padding repeats a document's first token; it stands behind the document, where causal
attention does not see it.

Shapes: N tokens of all documents, M tokens of all groups with padding, n documents of a group, L their padded length,
D head dimension.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

STEP = 32
MOST = 1024  # tokens of a group, so that what is computed of it stays in the cache


@dataclass(frozen=True)
class Group:
    """Documents of one padded length.

    Attributes:
        start: place of its first token in M.
        num: number of documents n.
        length: padded length L.
    """

    start: int
    num: int
    length: int

    @property
    def tokens(self) -> slice:
        """Its tokens in M."""
        return slice(self.start, self.start + self.num * self.length)


@dataclass(frozen=True)
class Groups:
    """All groups of a batch.

    Attributes:
        groups: the groups, one after another in M.
        places: place in N of each token of the groups (M,), int64.
        padding: places in M of padding, int64.
        inverse: place in M of each token (N,), int64.
    """

    groups: list[Group]
    places: Tensor
    padding: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, lengths: list[int]) -> "Groups":
        """Group documents.

        Args:
            lengths: number of tokens of each document, in their order in N.
        """
        counts = torch.tensor(lengths)
        starts = counts.cumsum(0) - counts
        padded = (counts + STEP - 1) // STEP * STEP
        inverse = torch.empty(sum(lengths), dtype=torch.int64)
        groups, places, padding, start = [], [], [], 0
        for length in padded[counts > 0].unique().tolist():
            for members in (padded == length).nonzero().squeeze(1).split(max(1, MOST // length)):
                groups.append(Group(start, len(members), length))
                within = torch.arange(length)
                real = within < counts[members, None]  # (n, L)
                sources = (starts[members, None] + within * real).flatten()
                own = torch.arange(start, start + len(sources))
                real = real.flatten()
                inverse[sources[real]] = own[real]
                places.append(sources)
                padding.append(own[~real])
                start += len(sources)
        return cls(groups, torch.cat(places), torch.cat(padding), inverse)

    def gather(self, tokens: Tensor, zeros: bool = False) -> Tensor:
        """Return rows of tokens (N, ...) in the order of the groups, as (M, ...).

        Args:
            tokens: what is known of each token.
            zeros: whether padding has zeros; otherwise it repeats a token.
        """
        found = tokens.index_select(0, self.places)
        return found.index_fill_(0, self.padding, 0) if zeros and len(self.padding) else found

    def scatter(self, grouped: Tensor) -> Tensor:
        """Return rows of the groups (M, ...) in the order of the tokens, as (N, ...); padding is left out."""
        return grouped.index_select(0, self.inverse)
