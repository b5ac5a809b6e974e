"""Rows of conversations: whole, each once an epoch, the same however they are asked for."""

from pathlib import Path

import numpy as np
import pytest

from spiritlm_pl.data.blocks import CONVERSATION, write_manifest
from spiritlm_pl.data.collate import LossOn, collate
from spiritlm_pl.data.conversation_stream import ConversationStream
from spiritlm_pl.data.conversations import Conversations, write_conversations
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=1, end_of_document=2)


def table(count: int, seed: int, longest: int = 30) -> Conversations:
    """Conversations whose tokens spell their number, with the second of two turns learnt."""
    rng = np.random.default_rng(seed)
    sequences = []
    for number in range(count):
        asked, answered = rng.integers(2, longest, 2)
        tokens = np.full(asked + answered, 3 + (seed * count + number) % 90)
        sequences.append((tokens, np.arange(len(tokens)) >= asked, np.array([asked, answered])))
    return Conversations.of(sequences, [1000 * seed + number for number in range(count)])


def written(folder: Path, tables: list[Conversations]) -> Path:
    entries = [write_conversations(folder, number, one, VOCABULARY) for number, one in enumerate(tables)]
    write_manifest(folder, CONVERSATION, VOCABULARY, entries, {})
    return folder


def documents(rows) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    flat, mask = rows.tokens.reshape(-1), rows.learnt.reshape(-1)
    spans = zip(rows.cu_seqlens[:-1], rows.cu_seqlens[1:], rows.padding, strict=True)
    return [(tuple(flat[a:b].tolist()), tuple(mask[a:b].tolist())) for a, b, padding in spans if not padding]


def test_every_conversation_is_read_once_an_epoch(tmp_path):
    tables = [table(40, 1), table(25, 2)]
    stream = ConversationStream(written(tmp_path, tables), 64, seed=0, name="chat")
    expected = sorted(
        (tuple(one.tokens[a:b].tolist()), tuple(one.learnt[a:b].astype(bool).tolist()))
        for one in tables
        for a, b in zip(one.starts[:-1], one.starts[1:], strict=True)
    )
    epochs = [stream.rows(n * stream.rows_per_epoch, (n + 1) * stream.rows_per_epoch) for n in range(2)]
    assert [sorted(documents(rows)) for rows in epochs] == [expected, expected]
    assert not np.array_equal(epochs[0].tokens, epochs[1].tokens)
    assert stream.filled > 0.9 and stream.cut == stream.left_out == 0

    again = ConversationStream(tmp_path, 64, seed=0, name="chat")
    last = stream.rows_per_epoch + 5
    parts = [again.rows(place, min(place + 3, last)) for place in range(0, last, 3)]
    np.testing.assert_array_equal(np.concatenate([part.tokens for part in parts]), stream.rows(0, last).tokens)


def test_conversations_longer_than_a_row_are_cut_at_a_turn(tmp_path):
    lengths = [(4, 4), (4, 4, 4, 4), (4, 9), (12, 2)]
    sequences = []
    for turns in lengths:
        mask = np.concatenate([np.full(size, number % 2 == 1) for number, size in enumerate(turns)])
        sequences.append((np.full(sum(turns), 5), mask, np.array(turns)))
    stream = ConversationStream(written(tmp_path, [Conversations.of(sequences, range(4))]), 10, seed=0)
    kept = [len(tokens) for tokens, _ in documents(stream.rows(0, stream.rows_per_epoch))]
    assert sorted(kept) == [8, 8]  # the others have no answer that ends within ten tokens
    assert (stream.cut, stream.left_out) == (1, 2)
    short = ConversationStream(tmp_path, 6, seed=0)
    with pytest.raises(ValueError, match="row_length must leave conversations something to learn, but none of"):
        _ = short.block_rows


def test_only_what_is_learnt_is_predicted(tmp_path):
    one = table(30, 3)
    stream = ConversationStream(written(tmp_path, [one]), 64, seed=0)
    batch = collate(stream.rows(0, stream.rows_per_epoch), 0, LossOn().table(VOCABULARY))
    assert int(batch.loss_mask.sum()) == int(one.learnt.sum())
    assert not batch.loss_mask[batch.segment_ids < 0].any()


def test_a_damaged_block_is_refused(tmp_path):
    stream = ConversationStream(written(tmp_path, [table(5, 1)]), 64, seed=0)
    path = tmp_path / "block-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="must have SHA-256"):
        stream.rows(0, 1)
