"""Place of this process among those that a launcher has started."""

import os

LAUNCHERS = (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))  # torchrun, and SLURM's srun
# What all processes of one launch have in common, by launcher. MASTER_ADDR is not: some launchers give the first
# machine "localhost" and the others its name. Those of SLURM differ where each node has a torchrun of its own.
COMMON = (("TORCHELASTIC_RUN_ID", "MASTER_PORT"), ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_CLUSTER_NAME"))


def rank_and_size() -> tuple[int, int]:
    """Return the number of this process and of all, as torchrun or SLURM's srun tell; 0 and 1 without them.

    Raises:
        ValueError: if these are no numbers, or the former is not below the latter.
    """
    for rank, size in LAUNCHERS:
        if rank in os.environ and size in os.environ:
            told = os.environ[rank], os.environ[size]
            if not all(value.isascii() and value.isdigit() for value in told) or int(told[0]) >= int(told[1]):
                raise ValueError(
                    f"{rank} must be a whole number below {size}, but is {told[0]!r} of {told[1]!r} instead"
                )
            return int(told[0]), int(told[1])
    return 0, 1


def launch_id() -> str:
    """Return what tells the processes of one launch from those of another; empty where nothing does.

    Launches with one port on several machines may have the same; those that SLURM's srun has started never have.
    """
    for (rank, size), names in zip(LAUNCHERS, COMMON, strict=True):
        if rank in os.environ and size in os.environ:
            return " ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
    return ""


def restarts() -> int:
    """Return how often SLURM has requeued the job of this process; 0 without it."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def is_restarted(launch: str, rank: int, earlier: int | None) -> bool:
    """Whether a process of another machine was started again as this one, so that it has ended.

    Only SLURM's jobs keep their ids when they are requeued, and share them with no other job of the cluster. A process
    of the same count is one beside this, as of two containers that one task has started.

    Args:
        launch: `launch_id` of the other process.
        rank: its number in the launch.
        earlier: its `restarts`; None if it has told none.
    """
    same = launch.startswith("SLURM_JOB_ID=") and launch == launch_id() and rank == rank_and_size()[0]
    return same and earlier is not None and earlier < restarts()


def is_first_of_machine() -> bool:
    """Whether this is the first process of its machine, as torchrun or SLURM's srun tell; true without them."""
    found = next((os.environ[name] for name in ("LOCAL_RANK", "SLURM_LOCALID") if name in os.environ), "0")
    return found == "0"
