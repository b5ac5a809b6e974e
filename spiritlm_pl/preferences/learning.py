"""Preference losses over packed rows, and the figures that are logged of them, as sums over pairs.

Layout of a vector of sums (4 * 9,): nine sums for all pairs, for those of text, of speech, and of both. The first two
are the loss and the number of pairs.

Shapes: P pairs, N segments.
"""

from typing import Any

import torch
from torch import Tensor

from spiritlm_pl.contracts.batches import PairBatch
from spiritlm_pl.contracts.preference_loss import Likelihoods, Preference, PreferenceLoss
from spiritlm_pl.lm.build import document_loss

GROUPS = ("", "_text", "_speech", "_mixed")  # endings of the names of figures; the last three are the modalities
SUMS = 9


def preference_loss(
    network: Any, batch: PairBatch, loss: PreferenceLoss, cross_documents: bool = False
) -> tuple[Tensor, Tensor]:
    """Compute the loss of pairs in packed rows, in one pass.

    Args:
        network: causal language model, as `spiritlm_pl.lm.build.build_network` makes it.
        batch: packed pairs, with reference log-likelihoods if the loss needs them.
        loss: loss of pairs.
        cross_documents: whether a token attends to all earlier tokens of its row, and so to other documents.

    Returns:
        The mean loss over the pairs that count, to differentiate, and the sums of the figures, detached.
    """
    found: list[Tensor] = []

    def of_documents(sums: Tensor, counts: Tensor) -> Tensor:
        chosen, rejected = (
            Likelihoods(sums[segments], counts[segments], None if batch.reference is None else batch.reference[:, side])
            for side, segments in enumerate((batch.chosen, batch.rejected))
        )
        preference = loss(chosen, rejected)
        found.append(preference_sums(preference, chosen, rejected, batch).detach())
        return (preference.losses * batch.counted).sum() / batch.counted.sum().clamp(min=1)

    value, _, _ = document_loss(network, batch, of_documents, cross_documents)
    return value, found[0]


def preference_sums(preference: Preference, chosen: Likelihoods, rejected: Likelihoods, batch: PairBatch) -> Tensor:
    """Sum what is logged over the pairs that count (4 * 9,)."""
    columns = torch.stack(
        [
            preference.losses,
            torch.ones_like(preference.losses),
            preference.chosen,
            preference.rejected,
            (preference.chosen > preference.rejected) + 0.5 * (preference.chosen == preference.rejected),
            chosen.sums,
            chosen.tokens.to(chosen.sums.dtype),
            rejected.sums,
            rejected.tokens.to(rejected.sums.dtype),
        ]
    )  # (9, P)
    groups = [batch.counted, *(batch.counted & (batch.modalities == number) for number in range(len(GROUPS) - 1))]
    return torch.stack([torch.where(group, columns, 0.0).sum(1) for group in groups]).flatten()


def preference_metrics(sums: Tensor) -> dict[str, float]:
    """Compute what is logged from sums (4 * 9,): loss, rewards, margin, accuracy, and log-likelihoods per token.

    The accuracy is the share of pairs whose chosen reward is above the rejected one; equal ones count one half. Groups
    without pairs are left out, and so are those of a modality if all pairs are of it.
    """
    groups = sums.view(len(GROUPS), SUMS).tolist()
    metrics: dict[str, float] = {}
    for ending, (loss, count, chosen, rejected, right, first, first_tokens, second, second_tokens) in zip(
        GROUPS, groups, strict=True
    ):
        if not count or (ending and count == groups[0][1]):
            continue
        metrics |= {
            f"loss{ending}": loss / count,
            f"reward_chosen{ending}": chosen / count,
            f"reward_rejected{ending}": rejected / count,
            f"reward_margin{ending}": (chosen - rejected) / count,
            f"accuracy{ending}": right / count,
            f"log_likelihood_chosen{ending}": first / first_tokens,
            f"log_likelihood_rejected{ending}": second / second_tokens,
        }
    return metrics
