"""Running of a speech tokenizer over a corpus with `predict`; a writer callback stores the units."""

from typing import Any, cast

from lightning import LightningModule

from spiritlm_pl.contracts.batches import WaveformBatch
from spiritlm_pl.contracts.speech_tokenizer import SpeechTokenizer, Units
from spiritlm_pl.modules.stage import check_sample_rate
from spiritlm_pl.runtime.inference import prepare
from spiritlm_pl.tokenizers.expressive import ExpressiveTokenizer, KnownF0, load_tokenizer


class TokenizeModule(LightningModule):
    """Frozen speech tokenizer on the trainer's device.

    Args:
        tokenizer: folder of a speech tokenizer, phonetic or expressive.
    """

    def __init__(self, tokenizer: str) -> None:
        """Store the folder; `setup` loads the tokenizer."""
        super().__init__()
        self.folder = tokenizer
        self.tokenizer: SpeechTokenizer | None = None

    def setup(self, stage: str) -> None:
        """Load the tokenizer.

        Raises:
            ValueError: if this is not `predict`, the folder holds no tokenizer, or one of another sample rate.
        """
        if stage != "predict":
            raise ValueError(f"a tokenizer is run by predict, but by {stage} instead")
        if self.tokenizer is None:
            self.tokenizer = load_tokenizer(self.folder)
        check_sample_rate(self, self.tokenizer.sample_rate)

    def on_predict_start(self) -> None:
        """Make the networks faster on the device that they were moved to."""
        prepare(cast(Any, self.tokenizer), self.device)

    def predict_step(self, batch: WaveformBatch, batch_idx: int) -> list[Units]:
        """Encode every utterance of the batch."""
        assert self.tokenizer is not None
        if batch.f0 is None or not isinstance(self.tokenizer, ExpressiveTokenizer):
            return self.tokenizer.encode(batch.waveforms, batch.lengths)
        assert batch.voiced is not None and batch.f0_means is not None
        known = KnownF0(batch.f0, batch.voiced, batch.f0_means)
        return self.tokenizer.encode(batch.waveforms, batch.lengths, known)
