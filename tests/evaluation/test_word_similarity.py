"""Spoken and written words: alike where a model gives both the same states, and measured as a plain loop does."""

import json

import numpy as np
import pytest
import torch

from spiritlm_pl.cli.evaluate.similarity import word_similarity as command
from spiritlm_pl.data.corpus_store import TimedWord, UnitUtterance, finish_folder, write_part
from spiritlm_pl.data.unit_corpus import UnitCorpus
from spiritlm_pl.data.utterances import aligned_document
from spiritlm_pl.evaluation.word_similarity import word_similarity
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.streams import SpeechLayout


@pytest.fixture
def units_folder(tmp_path):
    """Three utterances of four words, each of half a second and three units; one of a single word is left out."""
    utterances = []
    for number, words in enumerate(("the cat sat off", "a dog ran off", "the mat sat on", "cat")):
        said = words.split()
        utterances.append(
            UnitUtterance(
                id=f"utterance-{number}",
                speaker="anna",
                text=words,
                duration=len(said) / 2,
                num_frames=12 * len(said),
                words=tuple(TimedWord(word, place / 2, place / 2 + 0.4) for place, word in enumerate(said)),
                units=np.array([(5 * number + unit) % 20 for unit in range(3 * len(said))], dtype=np.uint16),
                unit_starts=np.arange(3 * len(said), dtype=np.uint32) * 25 // 6,
                custom={},
            )
        )
    folder = tmp_path / "units"
    write_part(folder / "test", 0, utterances, "f")
    layout = SpeechLayout.spirit_lm(num_units=20, frame_rate=25.0)
    finish_folder(folder / "test", ["f"], layout=layout, provenance={})
    return folder


@torch.no_grad()
def test_layers_are_measured_as_a_plain_loop_does(tiny_lm, units_folder):
    network, text, vocabulary = tiny_lm
    corpus = UnitCorpus(units_folder, "test")
    found = word_similarity(network, text, vocabulary, corpus)
    assert [layer.layer for layer in found] == [0, 1]
    same, other, counts = [], [], []
    for utterance in list(corpus)[:3]:
        document = aligned_document(utterance, corpus.layout, text, vocabulary)
        words = [word for word in document.words if len(word.text) and len(word.speech)]
        states = {}
        for kind in ("text", "speech"):
            tokens = [vocabulary.text_marker if kind == "text" else vocabulary.speech_marker]
            spans = []
            for word in document.words:
                if word in words:
                    spans.append((len(tokens), len(tokens) + len(getattr(word, kind))))
                tokens += list(getattr(word, kind))
            hidden = network(torch.tensor([tokens]), output_hidden_states=True).hidden_states[1][0]
            states[kind] = [hidden[start:end] for start, end in spans]
        half = len(words) // 2
        turned = states["speech"][half:] + states["speech"][:half]
        for sums, spoken in ((same, states["speech"]), (other, turned)):
            pairs = zip(states["text"], spoken, strict=True)
            closest = [torch.cosine_similarity(a[:, None], b[None], dim=-1).max().item() for a, b in pairs]
            sums.append(sum(closest))
        counts.append(len(words))
    assert found[1].same.value == pytest.approx(sum(same) / sum(counts), abs=1e-5)
    assert found[1].other.value == pytest.approx(sum(other) / sum(counts), abs=1e-5)
    assert found[1].same.count == len(counts) == 3


def test_forms_that_share_their_embeddings_are_alike(tiny_lm, units_folder):
    network, text, vocabulary = tiny_lm
    twin = type(network)(network.config).eval()
    with torch.no_grad():
        twin.get_input_embeddings().weight[:] = twin.get_input_embeddings().weight[0]
    found = word_similarity(twin, text, vocabulary, UnitCorpus(units_folder, "test"))
    assert found[0].same.value == pytest.approx(1) and found[0].other.value == pytest.approx(1)


def test_the_command_writes_figures_a_table_and_a_plot(tiny_lm, units_folder, tmp_path):
    network, text, vocabulary = tiny_lm
    save_lm(tmp_path / "lm", network, vocabulary, text)
    out = tmp_path / "similarity.json"
    command({"a": str(tmp_path / "lm"), "b": str(tmp_path / "lm")}, str(units_folder), str(out), utterances=1)
    report = json.loads(out.read_text())
    assert report["a"] == report["b"] and len(report["a"]) == 2 and report["a"][0]["same"]["count"] == 1
    assert out.with_suffix(".png").stat().st_size > 5000 and "a, other word" in out.with_suffix(".md").read_text()
    for lms, utterances, message in (({}, 1, "lms must name"), ({"a": str(tmp_path / "lm")}, 0, "utterances must be")):
        with pytest.raises(ValueError, match=message):
            command(lms, str(units_folder), str(out), utterances=utterances)
