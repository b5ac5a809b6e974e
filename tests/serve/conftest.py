"""A tiny model of random weights behind a server."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import httpx
import pytest
import torch
from starlette.testclient import TestClient

from spiritlm_pl.conversations.template import load_template
from spiritlm_pl.generation import SpiritLM
from spiritlm_pl.generation.loading import LM, SPEECH_TOKENIZER, VOCODER
from spiritlm_pl.lm.folder import save_lm
from spiritlm_pl.runtime.checkpoint import save_network
from spiritlm_pl.serve.api import build_api
from spiritlm_pl.serve.session import Limits, Session
from spiritlm_pl.tokenizers.features import MFCCConfig, MFCCFeatures
from spiritlm_pl.tokenizers.kmeans import KMeans, KMeansConfig
from spiritlm_pl.tokenizers.phonetic import PhoneticTokenizer
from spiritlm_pl.vocoder.inverse_stft import InverseSTFTConfig, InverseSTFTVocoder


@pytest.fixture(scope="session")
def spirit_lm(tiny_lm):
    network, text, vocabulary = tiny_lm
    torch.manual_seed(0)  # whatever ran before
    features = MFCCFeatures(MFCCConfig())
    quantizer = KMeans(KMeansConfig(num_units=20, feature_dim=features.feature_dim))
    torch.nn.init.normal_(quantizer.centroids, std=30.0)
    config = InverseSTFTConfig(
        num_units=20, speakers=("anna", "bert"), styles=("calm", "glad"), embedding_dim=8, channels=16
    )
    tokenizer, vocoder = PhoneticTokenizer(features, quantizer), InverseSTFTVocoder(config)
    return SpiritLM(network.eval(), text, vocabulary, tokenizer.eval(), vocoder.eval())


@pytest.fixture
def session(spirit_lm):
    return Session(spirit_lm, Limits(max_seconds=3, max_megabytes=1, max_concurrent=4))


@pytest.fixture(scope="session")
def tuned(spirit_lm):
    """Model that was tuned on conversations, with its templates."""
    vocabulary = replace(spirit_lm.vocabulary, end_of_document=2)
    templates = {"asr": load_template("plain"), "chat": load_template("chat")}
    parts = spirit_lm.model, spirit_lm.text_tokenizer, vocabulary, spirit_lm.speech_tokenizer, spirit_lm.vocoder
    return SpiritLM(*parts, templates=templates)


@pytest.fixture
def client(session):
    with TestClient(build_api(session)) as client:
        yield client


@pytest.fixture(scope="session")
def model_folder(spirit_lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_lm(folder / LM, spirit_lm.model, spirit_lm.vocabulary, spirit_lm.text_tokenizer)
    spirit_lm.speech_tokenizer.save(folder / SPEECH_TOKENIZER)
    save_network(folder / VOCODER, spirit_lm.vocoder, "vocoder")
    return folder


@pytest.fixture(scope="session")
def temporary(tmp_path_factory):
    """Where the server puts its temporary folder."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="session")
def address(model_folder, temporary):
    """Of the real server, in a process of its own."""
    words = f"serve --model {model_folder} --port 0 --max_seconds 3 --max_megabytes 1 --max_concurrent 4".split()
    command = [sys.executable, "-m", "spiritlm_pl", *words]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            line = server.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            address = found[0]
            while True:
                assert server.poll() is None
                try:
                    httpx.get(f"{address}/api/info")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield address
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    assert server.returncode == 0
    assert not list(temporary.glob("spiritlm-*"))
