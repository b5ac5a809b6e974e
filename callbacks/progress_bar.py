"""The progress bar of the command line: Lightning's counts towards -2 epochs where steps end the training."""

from lightning.pytorch.callbacks import RichProgressBar


class StepProgressBar(RichProgressBar):
    """Says which epoch this is and, where steps end the training, how many of them there are in all."""

    def _get_train_description(self, current_epoch: int) -> str:
        steps = self.trainer.max_steps
        if steps is None or steps < 0:
            return super()._get_train_description(current_epoch)
        return f"Epoch {current_epoch} ({steps:,} steps in all)"
