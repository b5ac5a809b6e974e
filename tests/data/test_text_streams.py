"""Text files to text streams: whole documents with the base model's ids, streams by names, splits, what is left out."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spiritlm_pl.cli.main import run
from spiritlm_pl.corpora.text_files.flat_texts import FlatTexts, TextBatch
from spiritlm_pl.corpora.text_files.options import DOCUMENTS, TextOptions
from spiritlm_pl.corpora.text_files.readers import batches_of
from spiritlm_pl.corpora.text_files.skipped import Skipped
from spiritlm_pl.corpora.text_files.source import open_source
from spiritlm_pl.data.blocks import open_block, read_manifest
from spiritlm_pl.data.build_blocks import build_blocks
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.text_documents import are_held_out, encoded_texts
from spiritlm_pl.data.text_streams import open_sources
from spiritlm_pl.datamodules.interleaved import InterleavedDataModule, StreamConfig
from spiritlm_pl.streams import SpeechLayout
from spiritlm_pl.text_tokenizers.flat import FlatEncoder
from spiritlm_pl.text_tokenizers.tokenizer import TextTokenizer, train_text_tokenizer

CODE = [f"def f{number}(x):\n    if x:\n\n        return {number}\n" for number in range(40)]
WEB = [f"# Title {number}\n\n* one\n* two  \n" for number in range(30)]


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Units of one utterance, a byte-level tokenizer, and two sources of texts."""
    words = (TimedWord("the", 0.1, 0.3), TimedWord("cat", 0.3, 0.6))
    units, starts = np.arange(6, dtype=np.uint16), np.arange(0, 18, 3, dtype=np.uint32)
    said = UnitUtterance(
        id="u", text="the cat", duration=1.0, words=words, units=units, unit_starts=starts, num_frames=18
    )
    for split in ("train", "validation"):
        write_part(tmp_path / "units" / split, 0, [said], "test")
        layout = SpeechLayout.spirit_lm(num_units=7, frame_rate=25.0)
        finish_folder(tmp_path / "units" / split, ["test"], layout=layout, provenance={})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat", *WEB], trainer)
    tokenizer.add_special_tokens([AddedToken("<end>", special=True, normalized=False)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "code").mkdir()
    for number in range(2):
        lines = [json.dumps({"content": text}) for text in CODE[number::2]]
        (tmp_path / "code" / f"{number}.jsonl").write_text("\n".join(lines) + "\nbroken\n")
    (tmp_path / "web.txt").write_text("\n\n\n".join(text.replace("\n\n", "\n").strip() for text in WEB))
    return tmp_path


def build(folder: Path, **options) -> dict[str, dict[str, int]]:
    return build_blocks([str(folder / "units")], str(folder / "tokenizer"), str(folder / "blocks"), **options)


def texts_in(folder: Path) -> set[tuple[int, ...]]:
    """Ids of all documents of a stream of text."""
    manifest = read_manifest(folder)
    found = []
    for entry in manifest.blocks:
        block = open_block(folder, entry)
        found += [tuple(block.tokens[start:end].tolist()) for start, end in pairwise(block.text_bounds)]
    assert len(set(found)) == len(found) == manifest.num_documents
    return set(found)


def test_streams_by_names_have_whole_documents_with_the_base_models_ids(inputs: Path) -> None:
    skipped = Skipped()
    summary = build(
        inputs,
        text={"code": [f"{inputs}/code/*.jsonl"], "web": [str(inputs / "web.txt")]},
        text_field={"code": "content"},
        text_documents={"web": "blank_line"},
        text_validation=0.2,
        skipped=skipped,
    )
    assert list(summary)[:4] == ["train/text", "train/text-code", "train/text-web", "train/speech"]
    base = AutoTokenizer.from_pretrained(inputs / "tokenizer")
    for name, documents in (("code", CODE), ("web", [text.replace("\n\n", "\n").strip() for text in WEB])):
        expected = {tuple(base.encode(text, add_special_tokens=False)) for text in documents}
        train, held_out = (texts_in(inputs / "blocks" / split / f"text-{name}") for split in ("train", "validation"))
        assert train | held_out == expected and not train & held_out and held_out
    assert texts_in(inputs / "blocks" / "train" / "text") == {tuple(base.encode("the cat"))}  # transcripts
    sources = read_manifest(inputs / "blocks" / "train" / "text-code").sources
    assert sorted(Path(path).name for path in sources["text"]) == ["0.jsonl", "1.jsonl"]
    assert sources["text_options"]["left_out"] == {"line that is no JSON": 2} == dict(skipped.counts)


def test_streams_that_are_no_longer_built_are_removed(inputs: Path) -> None:
    build(inputs, text={"web": [str(inputs / "web.txt")]})
    (inputs / "blocks" / "train" / "text-mine").mkdir()  # nobody's blocks
    summary = build(inputs, text=[str(inputs / "web.txt")])
    assert sorted(path.name for path in (inputs / "blocks" / "train").iterdir()) == [
        "aligned", "speech", "text", "text-mine"
    ]  # fmt: skip
    assert summary["train/text"]["documents"] + summary["validation/text"]["documents"] > 30


def test_the_command_tells_what_it_leaves_out(inputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["build-blocks", f"[{inputs}/units]", str(inputs / "tokenizer"), str(inputs / "blocks")]
    run([*arguments, "--text", f"{{code: [{inputs}/code]}}", "--text-field", "{code: content}", "--text_validation=0"])
    told = capsys.readouterr().out
    assert f"Left out: 2 x line that is no JSON, such as {inputs}/code/0.jsonl:" in told
    assert "train/text-code            1          40" in told
    run([*arguments, "--text", f"[{inputs}/web.txt]", "--text-documents", "file"])
    assert "Left out" not in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_as_it_is(inputs: Path) -> None:
    arguments = ["build-blocks", str(inputs / "units"), str(inputs / "tokenizer"), str(inputs / "code")]
    with pytest.raises(ValueError, match=r"OUT must be empty or hold blocks, but .*code holds 0.jsonl, 1.jsonl"):
        run(arguments)
    (inputs / "blocks").mkdir()
    (inputs / "blocks/.keep").touch()
    run([*arguments[:-1], str(inputs / "blocks")])
    (inputs / "blocks/notes.txt").touch()
    run([*arguments[:-1], str(inputs / "blocks")])


def test_sources_that_are_not_right_are_named(inputs: Path) -> None:
    web = [str(inputs / "web.txt")]
    for options, error, message in (
        ({"text": {"Web!": web}}, ValueError, "must name sources with a-z, 0-9 and _, but one is 'Web!' instead"),
        ({"text": {"web": []}}, ValueError, "text must name files of each source, but web has none"),
        ({"text": {"web": web}, "text_field": {"wbe": "x"}}, ValueError, "text_field must be of .* but is of wbe"),
        ({"text": web, "text_documents": {"web": "file"}}, ValueError, "text_documents must be of .* but is of web"),
        ({"text": web, "text_documents": "page"}, ValueError, "text_documents must be one of line, blank_line, file"),
        ({"text": {"web": [str(inputs / "no.txt")]}}, FileNotFoundError, "no.txt is not there"),
        ({"text": [f"{inputs}/code"]}, ValueError, "text_field must be a field of the data, but .* has content, not"),
        ({"text": web, "text_field": "x"}, ValueError, "text_field must be left out where all of text is plain text"),
        ({"text_documents": "file"}, ValueError, "text_documents must be left out without text, but is 'file'"),
        (
            {
                "text": {"web": web, "code": [f"{inputs}/code"]},
                "text_field": {"code": "content"},
                "text_documents": {"code": "file"},
            },
            ValueError,
            "text_documents must be left out where all of the text of code has rows, but is 'file'",
        ),
    ):
        with pytest.raises(error, match=message):
            build(inputs, **options)
    assert not (inputs / "blocks").exists()


def test_a_tokenizer_of_words_tells_of_line_breaks_that_it_loses() -> None:
    skipped, changed = Skipped(), Skipped()
    encoder = FlatEncoder(train_text_tokenizer(["the cat sat on the mat"] * 4))
    texts = TextBatch.of([0, 8, 16], ["the\ncat", "the cat", "\x02"])
    batches = list(encoded_texts([texts], "a.txt", encoder, 0.0, skipped, changed))
    assert batches[0].counts.tolist()[0] == batches[0].counts.tolist()[1]
    assert changed.counts == {"line breaks of a document, which the text tokenizer makes spaces": 1}
    assert skipped.counts == {"text without tokens": 1}


def test_batches_are_bounded_and_change_nothing(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = FlatEncoder(TextTokenizer.load(inputs / "tokenizer"))
    sources = [open_source([str(inputs / "web.txt")], TextOptions(documents=documents)) for documents in DOCUMENTS]
    sources.append(open_source([str(inputs / "code")], TextOptions(field="content")))

    def encoded() -> list[tuple[int, list[int]]]:
        found = []
        for source in sources:
            for piece in source.pieces():
                batches = batches_of(piece, source.options, Skipped())
                for batch in encoded_texts(batches, piece.file.name, encoder, 0.3, Skipped()):
                    numbers.append(len(batch.keys))
                    for table in (batch.table(held_out) for held_out in (False, True)):
                        bounds = zip(table.keys, table.text_bounds[:-1], table.text_bounds[1:], strict=True)
                        found += [(int(key), table.tokens[first:last].tolist()) for key, first, last in bounds]
        return sorted(found)

    numbers: list[int] = []
    whole = encoded()
    for limit, value in (("BATCH_BYTES", 100), ("BATCH_TEXTS", 3)):
        numbers.clear()
        monkeypatch.setattr(f"spiritlm_pl.corpora.text_files.readers.{limit}", value)
        assert encoded() == whole and len(numbers) > 9


def test_any_share_can_be_held_out() -> None:
    """Of many texts few are enough; equal texts are held out together, whatever their spaces."""

    def held_out(texts: list[str], share: float) -> npt.NDArray[np.bool_]:
        return are_held_out(FlatTexts.of(pa.array(texts, pa.large_string())), share)

    texts = [f"text {number}" for number in range(200_000)]
    for share in (0.01, 0.00005):
        assert held_out(texts, share).mean() == pytest.approx(share, rel=0.4 + 1e-6 / share)
    expected = held_out(texts[:500], 0.1)
    for spaces in (" ", "  ", "\n", " \u3000", "\t", "\x1f"):
        spaced = [text.replace(" ", spaces) for text in texts[:500]]
        assert (held_out(spaced, 0.1) == expected).all()
        assert (held_out([f"{spaces}{text}{spaces}" for text in spaced], 0.1) == expected).all()


def test_a_mixture_of_sources_goes_on_exactly(inputs: Path) -> None:
    """Four streams with small weights: shares are right, and a run that was stopped goes on with the same rows."""
    build(inputs, text={"code": [f"{inputs}/code/*.jsonl"], "web": [str(inputs / "web.txt")]}, text_field="content")
    blocks = str(inputs / "blocks")
    streams = {
        "code": StreamConfig(folder=blocks, kind="text", source="code", weight=0.7),
        "web": StreamConfig(folder=blocks, kind="text", source="web", weight=0.2),
        "speech": StreamConfig(folder=blocks, weight=0.0995),
        "aligned": StreamConfig(folder=blocks, weight=0.0005),
    }

    def loader(batch_size: int):
        return InterleavedDataModule(streams, row_length=32, batch_size=batch_size, num_workers=0).train_dataloader()

    first = loader(10)
    assert first.mixture.turns.quotas == (1400, 400, 199, 1)
    batches = iter(first)
    for _ in range(99):
        next(batches)
    second = loader(6)
    with pytest.warns(UserWarning, match="a step has 6 rows from here on, but had 10 before"):
        second.load_state_dict(first.state_dict())
    rows = next(iter(second)).tokens.tolist() + next(iter(second)).tokens.tolist()
    assert rows[:10] == next(batches).tokens.tolist()
    assert first.mixture.rows(1_000, 1_001).tokens.tolist() == first.mixture.rows(990, 1_010).tokens[10:11].tolist()


def test_a_stream_that_is_short_for_its_rows_is_told(inputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its share of rows is then no share of tokens."""
    build(inputs, text={"web": [str(inputs / "web.txt")]})
    blocks = str(inputs / "blocks")
    streams = {
        "web": StreamConfig(folder=blocks, kind="text", source="web"),
        "text": StreamConfig(folder=blocks),  # one transcript
    }
    with caplog.at_level("INFO"):
        InterleavedDataModule(streams, row_length=64, batch_size=2, num_workers=0).train_dataloader()
    assert "rows of text are 94% padding, since it has few tokens for such rows" in caplog.text
    assert "rows of web" not in caplog.text


def test_one_source_keeps_its_name_of_none(inputs: Path) -> None:
    assert list(open_sources([str(inputs / "web.txt")])) == [None] and open_sources(None) == {}
