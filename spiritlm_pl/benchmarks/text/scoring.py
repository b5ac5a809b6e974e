"""Log-likelihoods of continuations of written prompts, with [Text] in front, as lm-eval asks for them.

As there, spaces at the end of a prompt belong to the continuation, the tokens of a continuation are those that the
whole text has beyond those of the prompt, and a prompt that is too long is cut from the left; here, [Text] stays.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from spiritlm_pl.benchmarks.contract import Line
from spiritlm_pl.benchmarks.items import AnswerLine
from spiritlm_pl.benchmarks.text.items import TaskItem
from spiritlm_pl.generation.sampling import context_length
from spiritlm_pl.lm.likelihood import token_log_likelihoods
from spiritlm_pl.vocabulary import Modality

if TYPE_CHECKING:
    from spiritlm_pl.generation.spirit_lm import SpiritLM


@dataclass(frozen=True)
class Request:
    """Token ids of a prompt and of its continuation.

    Attributes:
        prompt: ids of the prompt, with those that open a document of text.
        continuation: ids of the continuation.
        num_cut: number of ids of the prompt that were left out, since there was no room for them.
    """

    prompt: tuple[int, ...]
    continuation: tuple[int, ...]
    num_cut: int


class TaskScorer:
    """Scorer of documents of tasks.

    Args:
        model: model that is asked.
        batch_tokens: largest number of tokens in a batch, padding included.
    """

    def __init__(self, model: "SpiritLM", batch_tokens: int = 4096) -> None:
        """Keep the model."""
        self.model, self.batch_tokens = model, batch_tokens
        opening = (*model.text_tokenizer.opening, *model.vocabulary.opening)
        self.opening = (*opening, model.vocabulary.marker(Modality.TEXT))
        self.most = context_length(model.model)

    def encode(self, prompt: str, continuation: str) -> Request:
        """Encode a request.

        Raises:
            ValueError: if the continuation adds no token to the prompt, or has no room by itself.
        """
        spaces = len(prompt) - len(prompt.rstrip())
        if spaces:
            prompt, continuation = prompt[:-spaces], prompt[-spaces:] + continuation
        before = self.model.text_tokenizer.encode(prompt) if prompt else []
        own = self.model.text_tokenizer.encode(prompt + continuation)[len(before) :]
        if not own:
            raise ValueError(f"a continuation must add tokens to its prompt, but {continuation!r} does not")
        # The last token is not read: nothing is predicted behind it.
        room = len(before) if self.most is None else self.most - len(self.opening) - len(own) + 1
        if room < 0:
            raise ValueError(f"a continuation must have room in the model's {self.most} tokens, but has {len(own)}")
        cut = max(0, len(before) - room)
        return Request((*self.opening, *before[cut:]), tuple(own), cut)

    def score(self, items: Sequence[TaskItem]) -> list[Line | Exception]:
        """Score documents together, each as it would be scored alone."""
        found: list[Line | Exception] = []
        ready: list[tuple[int, list[Request]]] = []
        for item in items:
            try:
                ready.append((len(found), [self.encode(*request) for request in item.requests]))
                found.append({})
            except ValueError as error:  # of this document alone
                found.append(error)
        sums = self._sums([request for _, requests in ready for request in requests])
        start = 0
        for place, requests in ready:
            own = sums[start : start + len(requests)]
            start += len(requests)
            greedy = [items[place].needs_greedy and self._is_greedy(request) for request in requests]
            if not all(map(torch.isfinite, torch.tensor(own))):
                found[place] = ValueError("log-likelihoods must be finite, but some of the model's are not")
            else:
                found[place] = line_of(items[place], requests, own, greedy)
        return found

    def _sums(self, requests: Sequence[Request]) -> list[float]:
        """Return the log-likelihood of each continuation; neighbours with one prompt have it computed once."""
        branches: list[tuple[tuple[int, ...], list[tuple[int, ...]]]] = []
        for request in requests:
            if not branches or branches[-1][0] != request.prompt:
                branches.append((request.prompt, []))
            branches[-1][1].append(request.continuation)
        found = token_log_likelihoods(self.model.model, branches, self.batch_tokens, with_context=False)
        return [float(values[0].double().sum()) for scores in found for values in scores.continuations]

    @torch.no_grad()
    def _is_greedy(self, request: Request) -> bool:
        """Return whether a continuation is what the model would write if it always took the likeliest token."""
        tokens = torch.tensor([[*request.prompt, *request.continuation]], device=self.model.model.device)
        logits = self.model.model(input_ids=tokens[:, :-1], logits_to_keep=len(request.continuation)).logits
        return logits[0].argmax(-1).tolist() == list(request.continuation)


def line_of(item: TaskItem, requests: Sequence[Request], sums: Sequence[float], greedy: Sequence[bool]) -> Line:
    """Return the line of results of a document: metrics, and the log-likelihoods that they can be computed from."""
    values = item.values(list(zip(sums, greedy, strict=True)))
    labels = {"task": item.task, **({"group": item.group} if item.group else {})}
    own = sums[: len(item.choices)] if item.choices else sums
    best = max(range(len(own)), key=own.__getitem__)
    texts = {"reference": " | ".join(item.choices[one] if isinstance(one, int) else one for one in item.gold)}
    texts |= {"answer": item.choices[best]} if item.choices else {}
    counts = {name: (value, 1.0) for name, value in values.items()}
    line = AnswerLine(item.id, {**labels}, counts, texts, num_shots=item.num_shots)
    return asdict(line) | {
        "choices": list(item.choices),
        "gold": list(item.gold),
        "log_likelihoods": list(sums),
        "greedy": list(greedy) if item.needs_greedy else None,
        "num_tokens": [len(request.continuation) for request in requests],
        "num_cut": max(request.num_cut for request in requests),
    }
