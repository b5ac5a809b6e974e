"""`spiritlm plan` prints tables of 80 columns, and tells what it cannot plan before it prints anything."""

from pathlib import Path

import pytest

from spiritlm_pl.cli.main import USER_ERRORS, run


def test_every_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    run(["plan", "--gpus", "[1, 8, 64, 512]", "--tokens-per-step", "4194304", "--corpus.expressive", "true"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed
    for line in (
        "1 GPU, 256 batches",
        "64 GPUs, 4 batches",
        "512 GPUs: 8,388,608 tokens a step, since batches are whole",
    ):
        assert line in printed
    for title in (
        "Memory of 1 GPU of 80 GB",
        "Network: GB and seconds",
        "Checkpoints of ZeRO-3 and FSDP2",
        "Data path",
    ):
        assert title in printed
    assert "64 GPUs: " not in printed  # its step has the tokens that were asked for


def test_days_are_of_the_steps_that_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    run(["plan", "--gpus", "[64, 512]", "--tokens-per-step", "4194304", "--steps", "100000"])
    few, many = (line for line in capsys.readouterr().out.splitlines() if line.startswith("kept layers:"))
    days = [float(line.split("steps: ")[1].split(" days")[0]) for line in (few, many)]
    assert days[0] == pytest.approx(
        4 * days[1], rel=0.02
    )  # a GPU of 64 has 4 batches; one of 512 a whole one, not half


def test_adapters_of_7b_fit_one_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    for more, frozen in ((["--gpu-memory", "80"], 13.5), (["--gpu-memory", "24", "--bits", "4", "--rows", "1"], 4.2)):
        run(["plan", "--adapter-rank", "16", "--gpus", "[1]", *more])
        printed = capsys.readouterr().out
        assert "44.2 M parameters (0.65 %) are trained" in printed and f"frozen weights: {frozen} GB" in printed
        [row] = [line for line in printed.splitlines() if line.startswith(" 0 ")]
        assert row.rstrip().endswith("recomp.") and max(map(len, printed.splitlines())) <= 80
        assert "Network" not in printed  # tables of pretraining


def test_own_figures_and_corpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("units: 0.01\nmachine: one H100")
    corpus = ["--corpus.hours", "100", "--corpus.aligned_hours", "0", "--corpus.text_tokens", "1e9"]
    options = ["--model", "smollm2-135m", "--gpus", "[8]", "--figures", str(tmp_path / "mine.yaml"), "--cores", "2"]
    run(["plan", *options, *corpus])
    printed = capsys.readouterr().out
    [line] = [line.split() for line in printed.splitlines() if "predict" in line]
    assert line[-3:-1] == ["1.0", "0.021"]  # 100 hours at a hundredth of real time, on two cores in days
    assert "figures measured on one H100" in printed
    assert "FSDP2 writes tied embeddings twice: 0.3 GB more" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gpus", "[8, 0]"], "gpus must be at least 1, but is 0 instead"),
        (["--rows", "0"], "rows must be at least 1, but is 0 instead"),
        (["--steps", "0"], "steps must be at least 1, but is 0 instead"),
        (["--cores", "0"], "cores must be at least 1, but is 0 instead"),
        (["--network-speed", "0"], "network-speed must be above 0, but is 0 instead"),
        (["--disk-speed", "-1"], "disk-speed must be above 0, but is -1 instead"),
        (["--kept-checkpoints", "0"], "kept-checkpoints must be at least 1, but is 0 instead"),
        (["--checkpoint-every", "0"], "checkpoint-every must be at least 1, but is 0 instead"),
        (["--corpus.hours", "-1"], "hours must be at least 0, but is -1 instead"),
        (["--figures", "missing.yaml"], "missing.yaml"),
        (["--model", "./llama-9"], "model must be a folder or a hub name, but is './llama-9'; besides, llama-2-7b"),
        (["--adapter-rank", "0"], "adapter-rank must be at least 1, but is 0 instead"),
        (["--bits", "4"], "bits must be left out without adapter_rank"),
    ],
)
def test_what_cannot_be_planned_is_told(capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    with pytest.raises(USER_ERRORS, match=message):
        run(["plan", *options])
    assert capsys.readouterr().out == ""


def test_pairs_determine_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    run(["plan", "--gpus", "[1]", "--rows", "2", "--preferences.pairs", "50000", "--preferences.pair_tokens", "1200"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80 and "Data path" not in printed
    assert "; 391 steps: " in printed and "1 GPU, 19 batches" in printed  # 128 pairs of 1200 tokens in 2 rows of 4096
    assert "50,000 pairs of 1,200 tokens, 128 a step: 391" in printed and "stored in 0.4 MB" in printed
    assert "would hold 13.5 GB more" in printed


def test_steps_beside_pairs_are_refused() -> None:
    with pytest.raises(USER_ERRORS, match="must be left out with preferences"):
        run(["plan", "--steps", "5", "--preferences.pairs", "100"])
    with pytest.raises((*USER_ERRORS, SystemExit)):
        run(["plan", "--preferences.pairs", "0"])
