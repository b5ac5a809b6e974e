"""Progress bar of the command line; Lightning's own counts towards -2 epochs if steps end the training."""

from lightning.pytorch.callbacks import RichProgressBar


class StepProgressBar(RichProgressBar):
    """Progress bar that shows the epoch and, if steps end the training, the total number of steps."""

    def _get_train_description(self, current_epoch: int) -> str:
        steps = self.trainer.max_steps
        if steps is None or steps < 0:
            return super()._get_train_description(current_epoch)
        return f"Epoch {current_epoch} ({steps:,} steps in all)"
