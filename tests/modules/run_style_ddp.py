"""Train a style encoder on two processes, write each rank's weights and figures (run by test_style.py)."""

import sys
from pathlib import Path

import torch
from lightning import Trainer, seed_everything

from spiritlm_pl.datamodules.labelled import LabelledDataModule
from spiritlm_pl.modules.style import StyleCodeModule, StyleModule
from spiritlm_pl.tokenizers.hubert import HubertLayer

if __name__ == "__main__":
    folder, corpus, teacher = (Path(argument) for argument in sys.argv[1:])
    torch.set_num_threads(1)
    encoder = HubertLayer(folder=str(folder / "hubert"), layer=2)
    for name in ("style", "codes"):
        seed_everything(0, verbose=False)
        module = (
            StyleModule(encoder, projection_dim=4, adversarial_weight=0.5)
            if name == "style"
            else StyleCodeModule(encoder, str(teacher), projection_dim=4)
        )
        trainer = Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp_find_unused_parameters_true",
            max_steps=3,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        trainer.fit(module, LabelledDataModule([str(corpus)], batch_seconds=4.0, crop_seconds=1.2))
        figures = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        found = {"weights": module.state_dict(), "figures": figures}
        torch.save(found, folder / f"{name}{trainer.global_rank}.pt")
