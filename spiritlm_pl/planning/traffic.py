"""Bytes that a training step sends between GPUs, for ZeRO-3 and FSDP2.

Both gather the weights of a layer before it computes, and scatter the sums of its gradients after the backward pass. A
collective over N GPUs of a tensor of S bytes lets each GPU send S (N - 1) / N bytes and receive as many, with the ring
of NCCL as with any other way that sends no more than it must. Each batch of an accumulated step gathers and scatters
anew. Norms, checks for overflow and the weights of vectors come to less than a thousandth, and are left out.
"""

from dataclasses import dataclass

from spiritlm_pl.lm.cost import ModelSize

KEPT_DISTANCE = 1_000_000_000  # DeepSpeed's stage3_max_reuse_distance, in elements


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Traffic of one optimizer step.

    Attributes:
        gpus: number of GPUs over which the state is divided.
        gathered: bytes of the weights that each GPU gets whole, its own share included.
        reduced: bytes of the gradients that each GPU gives to the sums, its own share included.
    """

    gpus: int
    gathered: float
    reduced: float

    @property
    def each(self) -> float:
        """Bytes that one GPU sends, and as many that it receives."""
        return (self.gathered + self.reduced) * (self.gpus - 1) / self.gpus

    @property
    def total(self) -> float:
        """Bytes that all GPUs send together."""
        return self.each * self.gpus


def zero3(
    size: ModelSize, gpus: int, batches: int, checkpointing: bool, kept_distance: int = KEPT_DISTANCE, width: int = 2
) -> Traffic:
    """Estimate the traffic of ZeRO-3.

    Weights are gathered for the forward and for the backward pass. Recomputing a layer gathers nothing more, since its
    backward pass follows at once. What is needed again soon stays whole between the passes: the output layer, and the
    last layers before it, as far as no more than `kept_distance` weights are passed until their next use.

    Args:
        size: sizes of the model.
        gpus: number of GPUs over which the state is divided.
        batches: number of batches that are accumulated in a step.
        checkpointing: whether layers are recomputed in the backward pass.
        kept_distance: number of weights up to whose next use weights stay whole.
        width: bytes of a gathered weight and of a summed gradient.
    """
    _check(gpus, batches)
    passes = 3 if checkpointing else 2  # through a kept layer before its backward pass
    kept = size.output_layer + max(0.0, (kept_distance - 2 * size.output_layer) / passes)
    uses = size.parameters + size.layer_parameters + (3 if size.tied else 1) * size.input_layer
    uses += 0 if size.tied else size.output_layer
    gathered = max(size.parameters, uses - kept)
    return Traffic(gpus=gpus, gathered=width * batches * gathered, reduced=width * batches * size.parameters)


def fsdp2(
    size: ModelSize, gpus: int, batches: int, gather_again: bool = True, gather_width: int = 2, reduce_width: int = 4
) -> Traffic:
    """Estimate the traffic of FSDP2, which is the same with and without recomputed layers.

    What belongs to no layer (embedding, output layer and last norm) is gathered once for both passes.

    Args:
        size: sizes of the model.
        gpus: number of GPUs over which the state is divided.
        batches: number of batches that are accumulated in a step.
        gather_again: whether the weights of layers are freed after the forward pass and gathered again.
        gather_width: bytes of a gathered weight: 2 in bf16.
        reduce_width: bytes of a summed gradient: 4 in fp32, as with mixed precision.
    """
    _check(gpus, batches)
    gathered = size.parameters + (size.layer_parameters if gather_again else 0)
    return Traffic(
        gpus=gpus, gathered=gather_width * batches * gathered, reduced=reduce_width * batches * size.parameters
    )


def _check(gpus: int, batches: int) -> None:
    for name, value in (("gpus", gpus), ("batches", batches)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, but is {value} instead")
