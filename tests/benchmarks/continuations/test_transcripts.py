import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from spiritlm_pl.benchmarks.continuations import transcripts
from spiritlm_pl.benchmarks.continuations.transcripts import transcriber


@pytest.mark.parametrize(
    ("whisper", "vocabulary", "message"),
    [(None, None, "pocketsphinx knows, but neither is given"), ("x", "y", "but both are given")],
)
def test_exactly_one_recogniser_is_given(whisper, vocabulary, message):
    with pytest.raises(ValueError, match=message):
        transcriber(whisper, vocabulary, "en")


def test_what_cannot_be_used_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="whisper must be a folder with a faster-whisper model, but .* is not there"):
        transcriber(str(tmp_path / "nowhere"), None, "en")
    with pytest.raises(ValueError, match="vocabulary must be a file of texts or a folder of them, but is "):
        transcriber(None, str(tmp_path / "nowhere"), "en")
    (tmp_path / "texts.txt").write_text("xyzzyq\n")
    with pytest.raises(ValueError, match="pocketsphinx knows none of those in"):
        transcriber(None, str(tmp_path / "texts.txt"), "en")
    with pytest.raises(ValueError, match="vocabulary is for English alone, but language is 'pl': give whisper instead"):
        transcriber(None, str(tmp_path / "texts.txt"), "pl")


def test_pocketsphinx_hears_words_of_the_texts_alone(tmp_path):
    (tmp_path / "a.txt").write_text("The cat sat.\n")
    hear = transcriber(None, str(tmp_path), "en")
    noise = 0.3 * torch.randn(24_000, generator=torch.Generator().manual_seed(0))
    assert set(hear(noise, 16_000).split()) <= {"the", "cat", "sat"}
    assert hear(torch.zeros(0), 16_000) == hear(torch.zeros(1000), 16_000) == ""


def test_texts_of_a_corpus_are_the_vocabulary(tone_corpus, monkeypatch):
    seen = []
    monkeypatch.setattr(transcripts, "pocketsphinx_recogniser", lambda texts: seen.extend(texts) or (lambda _: " a "))
    hear = transcriber(None, str(tone_corpus), "en")
    assert len(seen) == 12
    assert hear(torch.zeros(16_000), 16_000) == "a"


def test_whisper_hears_at_its_own_rate_and_in_the_language(tmp_path, monkeypatch):
    """A stand-in for faster-whisper, which is not among the packages of the tests."""
    calls, loaded = [], []

    class WhisperModel:
        def __init__(self, folder, device, device_index, compute_type, local_files_only):
            loaded.append((device, device_index, compute_type))
            if device_index == 7:
                raise RuntimeError("invalid device ordinal")

        def transcribe(self, samples, language, **options):
            calls.append((len(samples), language))
            return [SimpleNamespace(text=" Tak"), SimpleNamespace(text=" jest. ")], None

    module = ModuleType("faster_whisper")
    module.WhisperModel = WhisperModel
    module.__spec__ = SimpleNamespace(name="faster_whisper")
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    hear = transcriber(str(tmp_path), None, "pl")
    assert hear(torch.zeros(24_000), 24_000).split() == ["Tak", "jest."]
    assert calls == [(16_000, "pl")]
    transcriber(str(tmp_path), None, "pl", "cuda:1")
    assert loaded == [("cpu", 0, "int8"), ("cuda", 1, "float16")]
    for device, message in (
        ("cuda:7", "on cuda:7: invalid device ordinal"),
        ("gpu", "whisper_device must be cpu, cuda or cuda:1, but is gpu instead"),
        ("cpu:1", "but is cpu:1"),
        ("cuda:", "but is cuda: instead"),
    ):
        with pytest.raises(ValueError, match=message):
            transcriber(str(tmp_path), None, "pl", device)
