"""Mixing by weights: quotas are exact, streams are read in order, ranks share the rows."""

from dataclasses import replace

import numpy as np
import pytest

from spiritlm_pl.data.collate import LossOn, collate
from spiritlm_pl.data.interleave import Interleaving
from spiritlm_pl.data.loading import EvaluationLoader, Share, TrainingLoader
from spiritlm_pl.data.mixture import Mixture
from spiritlm_pl.data.packing import Rows
from spiritlm_pl.data.stream import TokenStream


@pytest.fixture
def mixture(make_blocks) -> Mixture:
    streams = [
        TokenStream(make_blocks(kind, blocks=2, documents=20)[0], 48, 0, Interleaving(text_span=(4, 10)), kind)
        for kind in ("text", "speech", "aligned")
    ]
    return Mixture(streams, [2, 1, 1])


def test_passes_over_streams_are_told(mixture: Mixture) -> None:
    whole = mixture.streams[1].rows_per_epoch
    passes = mixture.passes(4 * whole)  # a quarter of them is speech
    assert passes[1] == 1 and passes[0] == pytest.approx(2 * whole / mixture.streams[0].rows_per_epoch)
    assert min(mixture.passes(mixture.rows_until_all_read())) >= 1


def test_streams_are_read_in_order(mixture: Mixture) -> None:
    rows = mixture.rows(0, 40)
    slots = np.array([0, 1, 2, 0] * 10)
    for number, stream in enumerate(mixture.streams):
        mine = np.flatnonzero(slots == number)
        alone = stream.rows(0, len(mine))
        assert rows.tokens[mine].tolist() == alone.tokens.tolist()
    apart = [mixture.rows(row, row + 1) for row in range(40)]
    joined = Rows.concatenate(apart)
    assert joined.tokens.tolist() == rows.tokens.tolist()
    assert joined.cu_seqlens.tolist() == rows.cu_seqlens.tolist()
    assert joined.padding.tolist() == rows.padding.tolist()


def training(
    mixture: Mixture, rank: int = 0, ranks: int = 1, batch: int = 2, workers: int = 0, seed: int = 0
) -> TrainingLoader:
    return TrainingLoader(
        mixture,
        Share(batch_size=batch, rank=rank, world_size=ranks),
        length=8,
        predicted=LossOn().table(mixture.vocabulary),
        num_workers=workers,
        identity={"seed": seed},
    )


@pytest.mark.parametrize(("ranks", "batch"), [(1, 16), (2, 8), (4, 2), (8, 1)])
def test_ranks_share_the_rows(mixture: Mixture, ranks: int, batch: int) -> None:
    loaders = [iter(training(mixture, rank, ranks, batch)) for rank in range(ranks)]
    rows = [row for _ in range(2) for loader in loaders for row in next(loader).tokens.tolist()]
    assert rows == mixture.rows(0, 2 * ranks * batch).tokens.tolist()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_workers_and_other_batches_go_on_exactly(mixture: Mixture, workers: int) -> None:
    first = training(mixture, batch=4)
    batches = iter(first)
    for _ in range(3):
        next(batches)
    state = first.state_dict()
    assert state["rows"] == 12 and state["step"] == 3
    loaders = [training(mixture, rank, ranks=3, batch=2, workers=workers) for rank in range(3)]
    rows = []
    with pytest.warns(UserWarning, match="a step has 6 rows from here on, but had 4 before"):
        for loader in loaders:
            loader.load_state_dict(state)
    iterators = [iter(loader) for loader in loaders]
    for step in range(2):
        for iterator in iterators:
            batch = next(iterator)
            assert batch.step == 3 + step
            rows += batch.tokens.tolist()
    assert rows == mixture.rows(12, 24).tokens.tolist()


def test_the_next_epoch_of_the_trainer_goes_on(mixture: Mixture) -> None:
    loader = training(mixture)
    rows = [row for _ in range(2) for batch in loader for row in batch.tokens.tolist()]
    assert rows == mixture.rows(0, 32).tokens.tolist()


def test_a_state_of_other_data_is_refused(mixture: Mixture) -> None:
    state = training(mixture).state_dict()
    with pytest.raises(ValueError, match="seed must be what the checkpoint was trained with, 0, but is 1 instead"):
        training(mixture, seed=1).load_state_dict(state)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_evaluation_reads_every_row_once_on_equally_many_batches(mixture: Mixture, ranks: int) -> None:
    stream = mixture.streams[0]
    predicted = LossOn().table(mixture.vocabulary)
    loaders = [
        EvaluationLoader(stream, Share(batch_size=4, rank=rank, world_size=ranks), predicted=predicted)
        for rank in range(ranks)
    ]
    batches = [list(loader) for loader in loaders]
    assert {len(part) for part in batches} == {len(loaders[0])}
    rows = [
        row
        for part in zip(*batches, strict=True)
        for batch in part
        for row, segments in zip(batch.tokens.tolist(), batch.segment_ids.tolist(), strict=True)
        if max(segments) >= 0
    ]
    assert rows == stream.rows(0, stream.rows_per_epoch).tokens.tolist()


def test_streams_must_end_their_documents_alike(make_blocks, mixture: Mixture) -> None:
    folder, *_ = make_blocks("text", end_of_document=2)
    stream = TokenStream(folder, 48, 0, Interleaving())
    first, rule = mixture.streams[0].folder, "end_of_document must be the same in all streams"
    with pytest.raises(ValueError, match=f"{rule}, but is None in {first} and 2 in {folder}; build both with the same"):
        Mixture([*mixture.streams, stream], [1, 1, 1, 1])


def test_the_end_of_a_document_is_always_predicted(make_blocks) -> None:
    folder, *_ = make_blocks("speech", blocks=1, end_of_document=2, begin_of_document=2)
    stream = TokenStream(folder, 48, 0, Interleaving())
    predicted = LossOn(text=False, markers=False).table(stream.vocabulary)
    batch = collate(stream.rows(0, stream.rows_per_epoch), 0, predicted)
    opens, ends = batch.position_ids == 0, (batch.tokens == 2) & (batch.position_ids > 0)
    assert int(ends.sum()) == 40 and bool(batch.loss_mask[ends].all()) and not bool(batch.loss_mask[opens].any())
    without = LossOn(text=False).table(replace(stream.vocabulary, end_of_document=None))
    assert not bool(without[2])


def test_vocabularies_must_agree(make_blocks, mixture: Mixture, tmp_path) -> None:
    from spiritlm_pl.data.blocks import write_block, write_manifest
    from spiritlm_pl.data.documents import Document, WordIds
    from spiritlm_pl.vocabulary import Vocabulary

    other = Vocabulary.spirit_lm(num_text=7, num_units=3)
    entry = write_block(tmp_path / "other", 0, [Document(1, [WordIds([1], [])])], other)
    write_manifest(tmp_path / "other", "text", other, [entry], {})
    stream = TokenStream(tmp_path / "other", 48, 0, Interleaving())
    with pytest.raises(ValueError, match="streams must share one vocabulary"):
        Mixture([*mixture.streams, stream], [1, 1, 1, 1])
