"""Units that a training needs: `spiritlm fit` makes those that are missing first, as `spiritlm predict` does."""

from pathlib import Path
from typing import Any

from lightning import LightningDataModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng

BATCH_SECONDS = 100.0


def write_units_first(data: LightningDataModule | None, trainer: Trainer) -> None:
    """Tokenise the corpora of a data module that names a speech tokenizer; finished parts are kept.

    Args:
        data: data module of the training.
        trainer: its trainer, on whose device the tokenizer runs.

    Raises:
        ValueError: if the units are to lie elsewhere than they are written, or there are several ranks.
    """
    wanted: Any = data
    tokenizer = getattr(data, "tokenizer", None)
    if tokenizer is None:
        return
    from spiritlm_pl.callbacks.write_units import WriteUnits
    from spiritlm_pl.data.parts import corpus_name
    from spiritlm_pl.datamodules.speech import WaveformDataModule
    from spiritlm_pl.modules.tokenize import TokenizeModule

    homes, corpora = [Path(folder) for folder in wanted.units], list(wanted.corpora)
    root, names = homes[0].parent, [corpus_name(folder) for folder in corpora]
    if homes != [root / name for name in names]:
        written = ", ".join(str(root / name) for name in names)
        raise ValueError(f"units must be {written} for a tokenizer, but are {', '.join(map(str, homes))} instead")
    if trainer.world_size > 1:
        raise ValueError(
            f"tokenizer must be left out with {trainer.world_size} ranks, but is {tokenizer} instead: make the units "
            "first with spiritlm predict --config tokenize/base"
        )
    with isolate_rng():
        writer = Trainer(
            accelerator=trainer.accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            use_distributed_sampler=False,
            default_root_dir=trainer.default_root_dir,
            callbacks=[WriteUnits(str(root))],
        )
        writer.predict(
            TokenizeModule(tokenizer),
            datamodule=WaveformDataModule(corpora, batch_seconds=BATCH_SECONDS, num_workers=wanted.num_workers),
            return_predictions=False,
        )
