"""Trains a tiny LM on one rank, or two, with samples and choice; started by test_samples_and_choice.py.

Usage: sharded_samples_worker.py one|zero3|fsdp2, in a folder with `text`, `units` and the model
`start`; writes tb/ and choice_NAME.json.
"""

import sys

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, Dataset

from spiritlm_pl.callbacks.evaluate_choice import EvaluateChoice
from spiritlm_pl.callbacks.generate_samples import GenerateSamples
from spiritlm_pl.contracts.batches import TokenBatch
from spiritlm_pl.generation import GenerationSettings
from spiritlm_pl.lm.build import LanguageModelConfig
from spiritlm_pl.lm.optimizer import OptimizerSettings
from spiritlm_pl.modules.fsdp2 import FSDP2Strategy
from spiritlm_pl.modules.lm import LanguageModelModule
from spiritlm_pl.modules.strategy import Zero3Strategy
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer
from spiritlm_pl.vocabulary import Vocabulary

LENGTH = 16


class Rows(Dataset[TokenBatch]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> TokenBatch:
        tokens = (torch.arange(2 * LENGTH).view(2, LENGTH) + index) % 40
        positions = torch.arange(LENGTH).expand_as(tokens)
        return TokenBatch(
            tokens=tokens,
            position_ids=positions,
            segment_ids=torch.zeros_like(tokens),
            cu_seqlens=torch.arange(0, 2 * LENGTH + 1, LENGTH, dtype=torch.int32),
            loss_mask=positions > 0,
            step=index,
        )


def main() -> None:
    name = sys.argv[1]
    strategies = {"one": "auto", "zero3": Zero3Strategy(persistent_below=0, pin_memory=False), "fsdp2": FSDP2Strategy()}
    lightning.seed_everything(1)
    vocabulary = Vocabulary.spirit_lm(num_text=TextTokenizer.load("text").vocab_size, num_units=20)
    module = LanguageModelModule(
        LanguageModelConfig(checkpoint="start"), vocabulary, OptimizerSettings(lr=1e-4), text_tokenizer="text"
    )
    samples = GenerateSamples(
        texts=["the cat", "a dog"],
        units="units",
        split="test",
        num_utterances=1,
        settings=GenerationSettings(max_new_tokens=8, min_speech_units=1),
        every_n_steps=1,
    )
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1 if name == "one" else 2,
        max_steps=3,
        limit_val_batches=1,
        val_check_interval=2,
        logger=TensorBoardLogger("tb", version=name),
        enable_progress_bar=False,
        enable_model_summary=False,
        strategy=strategies[name],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        callbacks=[samples, EvaluateChoice("units", split="test", output=f"choice_{name}.json", batch_tokens=64)],
    )
    loader = DataLoader(Rows(), batch_size=None)
    trainer.fit(module, loader, loader)


if __name__ == "__main__":
    main()
