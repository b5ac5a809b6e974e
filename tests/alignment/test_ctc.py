import itertools
import json
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchaudio
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from spiritlm_pl.alignment.contract import Aligner
from spiritlm_pl.alignment.ctc import CTCAligner, align_words, spell
from spiritlm_pl.alignment.ctc_network import CTCNetwork, frame_geometry, load_folder, load_mms_fa
from spiritlm_pl.corpora.word_times import AlignmentError

VOCABULARY = {"<pad>": 0, "<unk>": 1, "|": 2, "A": 3, "B": 4, "C": 5, "D": 6, "O": 7, "'": 8}


def network_of(path: str, classes: dict[str, int], hop: int = 160, offset: int = 40, **kwargs: int) -> CTCNetwork:
    """A network that says `path`, one character a frame ("-" is the blank), with probability 0.9."""
    num_classes = max(classes.values(), default=0) + 1
    probabilities = torch.full((len(path), num_classes), 0.1 / (num_classes - 1))
    for frame, character in enumerate(path):
        probabilities[frame, 0 if character == "-" else classes[character]] = 0.9
    characters = {character: index for character, index in classes.items() if character != "|"}
    return CTCNetwork(
        log_probs=lambda _: probabilities.log(), characters=characters, hop_length=hop, offset=offset, **kwargs
    )


def waveform_of(path: str, hop: int = 160) -> Tensor:
    return torch.zeros(hop * len(path))


def frames(start: int, end: int, hop: int = 160, offset: int = 40) -> tuple[float, float]:
    return (start * hop + offset) / 16_000, (end * hop + offset) / 16_000


def test_words_get_exactly_the_frames_of_their_characters() -> None:
    path = "--aab-b--d-oo-a--"
    network = network_of(path, {"a": 1, "b": 2, "d": 3, "o": 4})
    words = align_words(network, waveform_of(path), ["abb", "do", "a"])
    assert [word.text for word in words] == ["abb", "do", "a"]
    assert [(w.start, w.end) for w in words] == [frames(2, 7), frames(9, 13), frames(14, 15)]
    assert [w.score for w in words] == pytest.approx([0.9] * 3)


def test_delimiter_parts_words_and_belongs_to_none() -> None:
    path = "-ab||-ba-"
    network = network_of(path, {"a": 1, "b": 2, "|": 3}, delimiter=3)
    first, second = align_words(network, waveform_of(path), ["ab", "ba"])
    assert (first.start, first.end) == frames(1, 3)
    assert (second.start, second.end) == frames(6, 8)


def test_score_tells_a_word_that_is_not_there() -> None:
    path = "-a-b-a-"
    network = network_of(path, {"a": 1, "b": 2, "c": 3})
    right, wrong, _ = align_words(network, waveform_of(path), ["a", "c", "a"])
    assert right.score is not None and wrong.score is not None
    assert right.score == pytest.approx(0.9) and wrong.score < 0.1


def test_path_is_the_best_of_all_paths() -> None:
    """The path's probability equals that of the best of all 3^T label rows which collapse to the target."""
    torch.manual_seed(0)
    log_probs = torch.randn(7, 3).log_softmax(-1)
    network = CTCNetwork(log_probs=lambda _: log_probs, characters={"a": 1, "b": 2}, hop_length=100)
    words = align_words(network, torch.zeros(700), ["ab", "b"])

    def collapse(row: tuple[int, ...]) -> list[int]:
        return [label for label, _ in itertools.groupby(row) if label != 0]

    rows = (row for row in itertools.product(range(3), repeat=7) if collapse(row) == [1, 2, 2])
    best = max(rows, key=lambda row: sum(float(log_probs[t, c]) for t, c in enumerate(row)))
    spans = [[t for t, _ in members] for c, members in itertools.groupby(enumerate(best), lambda item: item[1]) if c]
    expected = [(spans[0][0], spans[1][-1] + 1), (spans[2][0], spans[2][-1] + 1)]
    assert [(round(w.start * 160), round(w.end * 160)) for w in words] == expected


def test_what_the_network_cannot_spell() -> None:
    network = network_of("a", {"a": 1, "B": 2, "e": 3, "o": 4})
    assert spell(network, "Ab") == [1, 2]  # other case
    assert spell(network, "éö") == [3, 4]  # without accents
    assert spell(network, "a-7b") == [1, 2]  # left out
    assert spell(network, "東京") == []
    assert spell(network_of("น", {"น": 1, "้": 2, "ำ": 3}), "น้ำ") == [1, 2, 3]  # as Thai is written


def test_unknown_words_are_refused_by_name_or_laid_on_a_star() -> None:
    path = "-a-a---b-b-"
    network = network_of(path, {"a": 1, "b": 2})
    words = ["aa", "東京", "bb"]
    with pytest.raises(AlignmentError, match="東京"):
        align_words(network, waveform_of(path), words)
    first, star, last = align_words(network, waveform_of(path), words, unknown="star")
    assert star.score is None
    assert first.start == frames(1, 4)[0] and last.end == frames(7, 10)[1]
    assert first.end <= star.start < star.end <= last.start
    with pytest.raises(AlignmentError, match="no word has a character"):
        align_words(network, waveform_of(path), ["東京"], unknown="star")


@pytest.mark.parametrize(
    ("words", "samples", "message"),
    [
        ([], 1600, "no word"),
        (["abababababab"], 1600, "10 frames for 12"),
        (["aaaaaa"], 1600, "10 frames for 11"),
        (["a"], 100, "audio is too short: 0.006 s"),
    ],
)
def test_utterances_that_cannot_be_aligned_give_a_reason(words: list[str], samples: int, message: str) -> None:
    network = network_of("-" * 10, {"a": 1, "b": 2})
    with pytest.raises(AlignmentError, match=message):
        align_words(network, torch.zeros(samples), words)


def test_nan_is_reported() -> None:
    network = CTCNetwork(log_probs=lambda _: torch.full((10, 2), torch.nan), characters={"a": 1})
    with pytest.raises(AlignmentError, match="not finite"):
        align_words(network, torch.zeros(3200), ["a"])


def test_geometry_of_wav2vec2() -> None:
    assert frame_geometry((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)) == (320, 40)


def test_words_without_any_path_are_reported() -> None:
    log_probs = torch.full((10, 3), -torch.inf)
    log_probs[:, 0] = 0.0
    network = CTCNetwork(log_probs=lambda _: log_probs, characters={"a": 1, "b": 2})
    with pytest.raises(AlignmentError, match="do not fit"):
        align_words(network, torch.zeros(3200), ["ab", "a"])


def test_mms_fa_is_wired_as_torchaudio_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = torchaudio.pipelines.MMS_FA

    class Network(torch.nn.Module):
        def forward(self, waveforms: Tensor) -> tuple[Tensor, None]:
            logits = torch.randn(1, waveforms.shape[1] // 320, 28, generator=torch.Generator().manual_seed(0))
            return logits.log_softmax(-1), None

    monkeypatch.setattr(type(bundle), "get_model", lambda *_, **__: Network())
    network = load_mms_fa()
    assert (network.hop_length, network.offset, network.blank, network.delimiter) == (320, 40, 0, None)
    assert network.characters["a"] == 1 and network.characters["'"] == 25 and "*" not in network.characters
    assert [word.text for word in align_words(network, torch.zeros(16_000), ["it's", "Étude"])] == ["it's", "Étude"]

    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(type(bundle), "get_model", offline)
    with pytest.raises(ConnectionError, match="no route.*give a folder"):
        load_mms_fa()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(10, 8),
        conv_stride=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    Wav2Vec2ForCTC(config).save_pretrained(tmp_path / "ctc")
    (tmp_path / "ctc" / "vocab.json").write_text(json.dumps(VOCABULARY))
    return tmp_path / "ctc"


def test_checkpoint_on_disk_aligns_as_its_own_logits_say(folder: Path) -> None:
    aligner: Aligner = CTCAligner(str(folder))
    waveform = torch.randn(4000)
    words = aligner.align("x", waveform, ["a'c", "do", "bad"]).words
    assert [word.text for word in words] == ["a'c", "do", "bad"]
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= 0.25
    network = load_folder(folder)
    assert network.hop_length == 80 and network.delimiter == 2 and "|" not in network.characters
    with torch.no_grad():
        normal = (waveform - waveform.mean()) / (waveform.var(correction=0) + 1e-7).sqrt()
        expected = Wav2Vec2ForCTC.from_pretrained(folder).eval()(normal[None]).logits[0].log_softmax(-1)
        torch.testing.assert_close(network.log_probs(waveform), expected)
    assert pickle.loads(pickle.dumps(aligner)) == aligner  # goes to other processes by name


def test_checkpoints_that_cannot_be_used(folder: Path) -> None:
    processor = folder / "preprocessor_config.json"
    processor.write_text(json.dumps({"sampling_rate": 8000}))
    with pytest.raises(ValueError, match="sampling_rate must be 16000, but is 8000 instead"):
        load_folder(folder)
    processor.unlink()
    (folder / "vocab.json").write_text(json.dumps({"a": 1, "b": 99}))
    with pytest.raises(ValueError, match="classes below 9, but has 99"):
        load_folder(folder)
    (folder / "vocab.json").write_text("{")
    with pytest.raises(ValueError, match="must be JSON"):
        load_folder(folder)
    (folder / "vocab.json").write_text(json.dumps({"eng": {"a": 1}}))
    with pytest.raises(ValueError, match="one language"):
        load_folder(folder)
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match="must be loadable"):
        load_folder(folder)
    weights.unlink()
    with pytest.raises(ValueError, match="must be loadable"):
        load_folder(folder)
    with pytest.raises(ValueError, match="must be a folder with config.json"):
        load_folder(folder / "none")


def test_pickled_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))

    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.bias": Trap()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="must be loadable"):
        load_folder(folder)
    assert not (tmp_path / "sprung").exists()


def test_encoder_without_a_head_is_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("lm_head")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="must have all weights, but .* lacks lm_head"):
        load_folder(folder)
