"""Logging of text, audio and pictures to the trackers of a run: MLflow, TensorBoard, or none.

In MLflow a name such as `samples/story_1` becomes the artifact `samples/step_0000400/story_1.wav`.

Shapes: S samples.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lightning import Trainer
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def artifact_file(name: str, step: int, suffix: str) -> str:
    """Return the path among a run's artifacts for a medium of this name."""
    folder, _, rest = name.partition("/")
    return f"{folder}/step_{step:07d}/{rest or folder}{suffix}"


def tell_without_logger(trainer: Trainer, callback: object) -> None:
    """Print that what a callback makes is not kept, where a trainer has no logger."""
    if not trainer.loggers:
        rank_zero_info(f"{type(callback).__name__} logs nothing, as there is no logger")


@rank_zero_only
def log_text(trainer: Trainer, name: str, text: str, step: int) -> None:
    """Log a text; only rank zero does.

    Args:
        trainer: trainer whose loggers are used.
        name: name in the tracker, as `group/name`.
        text: plain text to log.
        step: number of optimizer steps done so far.
    """
    for logger in trainer.loggers:
        if isinstance(logger, MLFlowLogger):
            assert logger.run_id is not None
            logger.experiment.log_text(logger.run_id, text, artifact_file(name, step, ".txt"))
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(name, text.replace("\n", "  \n"), step)


@rank_zero_only
def log_audio(trainer: Trainer, name: str, waveform: Tensor, sample_rate: int, step: int) -> None:
    """Log audio; only rank zero does.

    Args:
        trainer: trainer whose loggers are used.
        name: name in the tracker, as `group/name`.
        waveform: (S,) samples in [-1, 1].
        sample_rate: rate of the samples in Hz.
        step: number of optimizer steps done so far.
    """
    for logger in trainer.loggers:
        if isinstance(logger, MLFlowLogger):
            _log_mlflow_audio(logger, artifact_file(name, step, ".wav"), waveform, sample_rate)
        elif isinstance(logger, TensorBoardLogger):
            mono = waveform.detach().cpu().float().clamp(-1, 1)[None]
            logger.experiment.add_audio(name, mono, step, sample_rate=sample_rate)


@rank_zero_only
def log_figure(trainer: Trainer, name: str, figure: "Figure", step: int) -> None:
    """Log a matplotlib picture; only rank zero does.

    Args:
        trainer: trainer whose loggers are used.
        name: name in the tracker, as `group/name`.
        figure: matplotlib figure to log.
        step: number of optimizer steps done so far.
    """
    for logger in trainer.loggers:
        if isinstance(logger, MLFlowLogger):
            assert logger.run_id is not None
            logger.experiment.log_figure(logger.run_id, figure, artifact_file(name, step, ".png"))
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(name, figure, step, close=False)


def _log_mlflow_audio(logger: MLFlowLogger, artifact: str, waveform: Tensor, sample_rate: int) -> None:
    from spiritlm_pl.corpora.audio import save_wav  # only here, since few trainings log audio

    assert logger.run_id is not None
    folder, _, name = artifact.rpartition("/")
    with TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        save_wav(path, waveform, sample_rate)
        logger.experiment.log_artifact(logger.run_id, str(path), folder)
