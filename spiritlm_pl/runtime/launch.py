"""Place of this process among those that a launcher has started."""

import os

LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))  # torchrun, and SLURM's srun


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process and of all, as torchrun or SLURM's srun tell; 0 and 1 without them."""
    for rank, size in LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def is_first_of_machine() -> bool:
    """Whether this is the first process of its machine, as torchrun or SLURM's srun tell; true without them."""
    found = next((os.environ[name] for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), "0")
    return found == "0"
