"""What data modules do without held-out data: training is not measured then, and this is told before it starts."""

from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn


def is_validated(data: LightningDataModule) -> bool:
    """Return whether a training validates; it does not with `--trainer.limit_val_batches=0`."""
    return data.trainer is None or data.trainer.limit_val_batches != 0


def warn_of_no_validation(missing: str, remedy: str) -> None:
    """Warn that a training has nothing to validate on.

    Args:
        missing: what is missing, after the name of the argument.
        remedy: what gives it, in the imperative.
    """
    rank_zero_warn(
        f"{missing}, so that training is not measured: {remedy}, or give --trainer.limit_val_batches=0 to train "
        "without a measure"
    )
