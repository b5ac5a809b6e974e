"""Classifiers of texts: sequence classification models of `transformers`, such as those of sentiment or toxicity.

Shapes: N texts, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from spiritlm_pl.evaluation.judges import load_judge, longest_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH = 32


class TextClassifier:
    """Classifier that gives each text a probability of every label.

    Args:
        network: sequence classification model of `transformers` in evaluation mode.
        tokenizer: its text tokenizer.
    """

    def __init__(self, network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
        """Read the labels in the order of the classes."""
        self.network = network
        self.tokenizer = tokenizer
        names: dict[int, str] = cast(Any, network.config).id2label
        self.labels = tuple(str(names[index]) for index in sorted(names))
        self.longest = longest_text(network, tokenizer)

    @property
    def independent(self) -> bool:
        """Whether each label is true or false by itself, so that several can be; else exactly one is true."""
        return self.network.config.problem_type == "multi_label_classification" or len(self.labels) == 1

    def probabilities(self, texts: Sequence[str], batch_size: int = BATCH) -> Tensor:
        """Return the probabilities (N, L) of the labels, on the CPU; a text that is too long is cut at its end.

        Args:
            texts: N texts, none of them empty.
            batch_size: number of texts that are classified together.

        Raises:
            ValueError: if a text is empty, or a probability is not finite, as of a model with broken weights.
        """
        logits = self._logits(texts, batch_size)
        return logits.sigmoid() if self.independent else logits.softmax(-1)

    def label(self, texts: Sequence[str], batch_size: int = BATCH) -> list[str]:
        """Return the likeliest label of each text, as by `probabilities`."""
        best = self._logits(texts, batch_size).argmax(-1)  # probabilities near 1 may be equal
        return [self.labels[int(place)] for place in best]

    @torch.no_grad()
    def _logits(self, texts: Sequence[str], batch_size: int) -> Tensor:
        """Return the logits (N, L) of the labels, on the CPU."""
        if not all(text.strip() for text in texts):
            raise ValueError("texts to classify must have words, but one is empty")
        found = torch.zeros(len(texts), len(self.labels))
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # similar lengths need little padding
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            found[places] = self._batch([texts[place] for place in places])
        if not bool(found.isfinite().all()):
            raise ValueError("probabilities of the text classifier must be finite, but are not: its weights are broken")
        return found

    def _batch(self, texts: Sequence[str]) -> Tensor:
        single = self.tokenizer.pad_token_id is None or self.network.config.pad_token_id is None
        if single and len(texts) > 1:  # the network could not tell padding from text
            return torch.cat([self._batch([text]) for text in texts])
        encoded = self.tokenizer(
            list(texts),
            return_tensors="pt",
            padding=not single,
            truncation=self.longest is not None,
            max_length=self.longest,
        )
        logits: Tensor = self.network(**encoded.to(self.network.device)).logits.float()
        return logits.cpu()


def load_text_classifier(
    argument: str, checkpoint: str | Path, needed: Sequence[str] = (), device: str | torch.device = "cpu"
) -> TextClassifier:
    """Load a text classifier from a folder, or by its name on the Hugging Face hub.

    Args:
        argument: name of the argument that gives the checkpoint, for errors.
        checkpoint: folder of a sequence classification model of `transformers` with its tokenizer, or a hub name.
        needed: labels that it must have.
        device: device that the network computes on.

    Raises:
        ValueError: if it cannot be loaded, is another kind of model, or lacks a label.
    """
    from transformers import AutoModelForSequenceClassification

    classifier = TextClassifier(*load_judge(argument, AutoModelForSequenceClassification, checkpoint, device))
    missing = [label for label in needed if label not in classifier.labels]
    if missing:
        raise ValueError(
            f"{argument} must have the labels {', '.join(needed)}, but {checkpoint} lacks {', '.join(missing)}: it has "
            f"{', '.join(classifier.labels)}"
        )
    return classifier
