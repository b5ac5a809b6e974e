"""What tells the processes of one launch from those of another."""

import pytest

from spiritlm_pl.runtime.launch import launch_id, rank_and_size

VARIABLES = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT")
SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_CLUSTER_NAME")


@pytest.mark.parametrize(
    ("variables", "found", "place"),
    [
        ({}, "", (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "", (1, 2)),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29500"}, "MASTER_PORT=29500", (1, 2)),
        (  # of torchrun, whose nodes SLURM may have started in steps of their own, and may know by other names
            {"RANK": "1", "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "a", "MASTER_PORT": "1", "MASTER_ADDR": "b"}
            | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"},
            "TORCHELASTIC_RUN_ID=a MASTER_PORT=1",
            (1, 2),
        ),
        (
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"},
            "SLURM_JOB_ID=7 SLURM_STEP_ID=2",
            (0, 4),
        ),
        (  # jobs of two clusters may have one number
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2"}
            | {"SLURM_CLUSTER_NAME": "a"},
            "SLURM_JOB_ID=7 SLURM_STEP_ID=2 SLURM_CLUSTER_NAME=a",
            (0, 4),
        ),
        ({"SLURM_JOB_ID": "7"}, "", (0, 1)),  # within an allocation, but not started by srun
    ],
)
def test_a_launch_is_known_by_what_its_processes_have_in_common(
    variables: dict[str, str], found: str, place: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*VARIABLES, *SLURM):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launch_id() == found and rank_and_size() == place


@pytest.mark.parametrize(
    ("rank", "size"), [("5", "2"), ("2", "2"), ("x", "2"), ("0", ""), ("-1", "2"), ("\u00b2", "3")]
)
def test_numbers_that_no_launcher_gives_are_refused(rank: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ValueError, match=f"RANK must be a whole number below WORLD_SIZE, but is '{rank}' of '{size}'"):
        rank_and_size()
