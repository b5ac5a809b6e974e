"""Size and time of checkpoints of a language model's training."""

from dataclasses import dataclass

STATE_WIDTH = 12  # bytes of a parameter: fp32 weights and two moments of AdamW
EXPORT_WIDTH = 2  # bytes of an exported weight, in bf16


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Checkpoints of a run under ZeRO-3 or FSDP2, which hold the same on any number of GPUs.

    Attributes:
        parameters: number of all parameters of the model.
        gpus: number of GPUs, each of which writes one part.
        kept: number of checkpoints that are kept.
        bandwidth: bytes a second that all GPUs together write to the disk.
    """

    parameters: int
    gpus: int
    kept: int
    bandwidth: float

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: if there is no GPU, nothing is kept, or nothing can be written.
        """
        for name, value, least in (("gpus", self.gpus, 1), ("kept_checkpoints", self.kept, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, but is {value} instead")
        if not self.bandwidth > 0:
            raise ValueError(f"disk_speed must be above 0, but is {self.bandwidth / 1e9:g} instead")

    @property
    def size(self) -> int:
        """Bytes of one checkpoint."""
        return STATE_WIDTH * self.parameters

    @property
    def part(self) -> float:
        """Bytes that one GPU writes."""
        return self.size / self.gpus

    @property
    def room(self) -> int:
        """Bytes of the kept checkpoints and of the next one, which is whole before the oldest is removed."""
        return (self.kept + 1) * self.size

    @property
    def export(self) -> int:
        """Bytes of the exported model."""
        return EXPORT_WIDTH * self.parameters

    @property
    def seconds(self) -> float:
        """Seconds for which training waits until a checkpoint is written."""
        return self.size / self.bandwidth

    def share(self, steps: int, step_seconds: float) -> float:
        """Return the part of the whole time that saving takes.

        Args:
            steps: number of steps from one checkpoint to the next.
            step_seconds: seconds of a step.
        """
        if steps < 1:
            raise ValueError(f"checkpoint_every must be at least 1, but is {steps} instead")
        return self.seconds / (self.seconds + steps * step_seconds)
