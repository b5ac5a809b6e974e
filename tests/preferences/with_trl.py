"""Trains with trl's DPOTrainer at a rate of 0, one pair a step, and writes what it logs; see check_trl.py.

Usage: with_trl.py MODEL REFERENCE PAIRS OUT
"""

import json
import sys
from pathlib import Path

from datasets import Dataset
from tokenizers import Tokenizer, models
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer


class GivenTokens(DPOTrainer):
    """Takes token ids as they are, in their order."""

    def _prepare_dataset(self, dataset, *args, **options):
        return dataset

    def _get_train_sampler(self, dataset=None):
        return SequentialSampler(dataset or self.train_dataset)


def main() -> None:
    model, reference, pairs, out = sys.argv[1:]
    rows = json.loads(Path(pairs).read_text())
    words = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1}, unk_token="<pad>"))
    config = DPOConfig(
        output_dir=f"{out}.runs",
        beta=1.0,
        learning_rate=0.0,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        max_steps=len(rows),
        logging_steps=1,
        logging_first_step=True,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        max_length=None,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = GivenTokens(
        AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        AutoModelForCausalLM.from_pretrained(reference, dtype="float32"),
        config,
        train_dataset=Dataset.from_list(rows),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>"),
    )
    trainer.train()
    logged = [line for line in trainer.state.log_history if "rewards/chosen" in line]
    Path(out).write_text(json.dumps(logged))


main()
