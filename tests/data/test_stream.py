"""Streams of rows: nothing lost, nothing twice, new draws every epoch, damaged blocks found."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from spiritlm_pl.data.blocks import read_manifest, write_block, write_manifest
from spiritlm_pl.data.documents import Document, WordIds
from spiritlm_pl.data.interleave import MODES, Interleaving, Mode
from spiritlm_pl.data.packing import Rows
from spiritlm_pl.data.stream import TokenStream
from spiritlm_pl.runtime.checksums import CHECKSUMS
from spiritlm_pl.streams import UNIT
from spiritlm_pl.vocabulary import Vocabulary

VOCABULARY = Vocabulary.spirit_lm(num_text=100, num_units=30, num_tasks=2, multiple_of=1)  # of make_blocks
MARKERS = (VOCABULARY.text_marker, VOCABULARY.speech_marker)
SHORT = {"text_span": (4, 10), "speech_span": (3, 6)}


def segments(rows: Rows) -> Iterator[list[int]]:
    flat = rows.tokens.flatten().tolist()
    bounds = rows.cu_seqlens.tolist()
    for low, high, padding in zip(bounds[:-1], bounds[1:], rows.padding.tolist(), strict=True):
        if padding:
            assert set(flat[low:high]) == {0}
        else:
            assert flat[low] in (*MARKERS, VOCABULARY.task_offset, VOCABULARY.task_offset + 1)
            yield flat[low:high]


def content(rows: Rows) -> Counter[int]:
    return Counter(token for part in segments(rows) for token in part if token not in MARKERS)


@pytest.mark.parametrize("kind", ["text", "speech"])
@pytest.mark.parametrize("row_length", [17, 256])
def test_every_token_comes_once_an_epoch(make_blocks, kind: str, row_length: int) -> None:
    folder, written, _ = make_blocks(kind)
    stream = TokenStream(folder, row_length, 0, Interleaving())
    there = Counter(
        token
        for part in written
        for document in part
        for word in document.words
        for token in (*word.text, *word.speech)
    )
    for epoch in range(2):
        rows = stream.rows(epoch * stream.rows_per_epoch, (epoch + 1) * stream.rows_per_epoch)
        assert content(rows) == there


@pytest.mark.parametrize("begin", [{}, {"begin_of_document": 1}])
@pytest.mark.parametrize(("kind", "mode"), [("text", "text"), ("speech", "speech"), ("aligned", "interleaved")])
def test_every_document_ends_once_an_epoch(make_blocks, kind: str, mode: Mode, begin: dict[str, int]) -> None:
    plain, *_ = make_blocks(kind, blocks=5, documents=30)
    folder, _, manifest = make_blocks(kind, blocks=5, documents=30, end_of_document=2, **begin)
    assert manifest == read_manifest(folder) and manifest.vocabulary.end_of_document == 2
    opening = manifest.vocabulary.opening
    assert opening == tuple(begin.values())
    stream, without = (TokenStream(path, 24, 0, Interleaving(mode=mode, **SHORT)) for path in (folder, plain))
    for epoch in range(2):
        rows = stream.rows(epoch * stream.rows_per_epoch, (epoch + 1) * stream.rows_per_epoch)
        flat, bounds = rows.tokens.flatten().tolist(), rows.cu_seqlens.tolist()
        said: Counter[int] = Counter()
        for low, high, padding in zip(bounds, bounds[1:], rows.padding.tolist(), strict=False):
            if not padding:
                assert tuple(flat[low : low + len(opening)]) == opening
                inner = flat[low + len(opening) : high]
                assert not inner or inner[0] in MARKERS  # empty where a row ends right after what begins a document
                said.update(token for token in inner if token not in MARKERS)
        same = content(without.rows(epoch * without.rows_per_epoch, (epoch + 1) * without.rows_per_epoch))
        assert said == same + Counter({2: manifest.num_documents})


def test_rows_of_blocks_that_were_not_tried_have_room_for_all_ends(tmp_path: Path) -> None:
    vocabulary = Vocabulary.spirit_lm(num_text=100, num_units=30, multiple_of=1, end_of_document=2)
    sizes = [40, 40, 4, 40, 40]  # the short documents of the third are not looked at before they are read
    for number, size in enumerate(sizes):
        documents = [Document(100 * number + place, [WordIds([5] * size, [])]) for place in range(400 // size)]
        sizes[number] = write_block(tmp_path, number, documents, vocabulary)
    write_manifest(tmp_path, "text", vocabulary, sizes, {})
    stream = TokenStream(tmp_path, 450, 0, Interleaving())
    rows = stream.rows(0, stream.rows_per_epoch)
    assert int((rows.tokens == 2).sum()) == 4 * 10 + 100


def test_every_word_comes_once_an_epoch_in_one_modality_anew(tmp_path: Path) -> None:
    vocabulary = Vocabulary.spirit_lm(num_text=2_000, num_units=2_000, multiple_of=1)
    documents = [
        Document(
            number,
            [WordIds([word], [vocabulary.bounds(UNIT)[0] + word]) for word in range(40 * number, 40 * number + 40)],
        )
        for number in range(50)
    ]
    entries = [
        write_block(tmp_path, number, documents[10 * number : 10 * number + 10], vocabulary) for number in range(5)
    ]
    write_manifest(tmp_path, "aligned", vocabulary, entries, {})
    stream = TokenStream(tmp_path, 32, 3, Interleaving(**SHORT))
    spoken, orders = [], []
    for epoch in range(3):
        rows = stream.rows(epoch * stream.rows_per_epoch, (epoch + 1) * stream.rows_per_epoch)
        flat = rows.tokens.flatten()[[token >= 0 for token in _valid(rows)]].tolist()
        tokens = [token for token in flat if token not in (vocabulary.text_marker, vocabulary.speech_marker)]
        words = [token if token < vocabulary.num_text else token - vocabulary.bounds(UNIT)[0] for token in tokens]
        assert sorted(words) == list(range(2_000))
        assert all(b == a + 1 for a, b in zip(words, words[1:], strict=False) if b % 40)  # documents stay in order
        spoken.append({word for word, token in zip(words, tokens, strict=True) if token >= vocabulary.bounds(UNIT)[0]})
        orders.append(words[::40])
    assert len({frozenset(words) for words in spoken}) == len({tuple(order) for order in orders}) == 3
    share = sum(map(len, spoken)) / 6_000
    assert 0.3 < share < 0.5  # 4.5 words of speech to 7 of text, on short documents


def _valid(rows: Rows) -> list[int]:
    """0 for tokens, -1 for padding."""
    lengths = rows.cu_seqlens[1:] - rows.cu_seqlens[:-1]
    return [-int(padding) for padding, length in zip(rows.padding, lengths, strict=True) for _ in range(length)]


@pytest.mark.parametrize("mode", MODES)
def test_all_modes_fit_their_rows(make_blocks, mode: Mode) -> None:
    folder, *_ = make_blocks("aligned", blocks=5, documents=10)
    stream = TokenStream(folder, 50, 1, Interleaving(mode=mode, **SHORT))
    rows = stream.rows(0, 30 * stream.rows_per_epoch)  # more visits than trials: some are drawn again
    seen = content(rows)
    assert (min(seen) < VOCABULARY.num_text) == (mode != "speech")
    assert (VOCABULARY.task_offset in seen) == (mode == "asr_tts")


def test_rows_do_not_depend_on_how_they_are_asked_for(make_blocks) -> None:
    folder, *_ = make_blocks("aligned")
    stream = TokenStream(folder, 40, 1, Interleaving(**SHORT))
    end = 2 * stream.rows_per_epoch + 7
    together = stream.rows(0, end).tokens.tolist()
    for size in (1, 3, 11):
        parts = [stream.rows(first, min(first + size, end)) for first in range(0, end, size)]
        assert Rows.concatenate(parts).tokens.tolist() == together
    assert stream.rows(end - 5, end).tokens.tolist() == together[-5:]
    assert TokenStream(folder, 40, 2, Interleaving(**SHORT)).rows(0, 5).tokens.tolist() != together[:5]


def test_damaged_blocks_are_named(make_blocks) -> None:
    folder, *_ = make_blocks("text")
    path = folder / read_manifest(folder).blocks[1].file
    whole = path.read_bytes()

    def read() -> None:
        stream = TokenStream(folder, 64, 0, Interleaving())
        stream.rows(0, stream.rows_per_epoch)

    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=rf"{path.name} must have SHA-256"):
        read()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"{path.name} must have {len(whole)} bytes, but has {len(whole) - 1}"):
        read()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path.name} must be there, but is missing"):
        read()
    path.write_bytes(whole)
    read()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest.json must have SHA-256"):
        read()
    (folder / CHECKSUMS).unlink()
    with pytest.raises(ValueError, match=r"manifest.json is not"):
        read()
    (folder / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match="blocks must be a folder with manifest.json"):
        read()
