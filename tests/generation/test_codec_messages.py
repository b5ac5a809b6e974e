"""What tokens that a codec cannot speak are told, in batches and by the server."""

import re
from types import SimpleNamespace

import pytest
import torch

from spiritlm_pl.cli.batch.vocode import spoken_item
from spiritlm_pl.generation.codec import SpeechCodec
from spiritlm_pl.generation.prompt import parse_speech
from spiritlm_pl.generation.synthesis import CodebookSynthesis
from spiritlm_pl.generation.vocode import Voice
from spiritlm_pl.serve.session import Session
from spiritlm_pl.streams import SpeechLayout, Stream
from spiritlm_pl.vocabulary import Vocabulary

STREAM = Stream(name="codec", prefix="Co", size=8, rate=12.5, num_codebooks=2, deduplicated=False)
VOCABULARY = Vocabulary(num_text=5, streams=(STREAM,))


class Decoder:
    """Decodes every code to ones."""

    layout, sample_rate, hop_length, num_codebooks, lookahead = SpeechLayout((STREAM,)), 100, 8, 2, 0

    def speaker_id(self, speaker: object) -> int:
        return 0

    def style_id(self, style: object) -> int:
        return 0

    def decode_frames(self, codes: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(codes) * self.hop_length)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"tokens": "[Co0_5]"}, "must hold at least one whole frame of 2 codes, but hold none"),
        ({"tokens": "[Se5][Ac0_1]"}, "must be those of the model's streams, such as [Co0_0], but one is [Se5]"),
        ({"tokens": "hello"}, "must be those of speech and nothing else, but hold 'hello'"),
        ({"error": "is silent"}, "are missing, as the item could not be tokenised: is silent"),
        ({"tokens": "[Co0_1][Co1_1]", "durations": [2]}, "durations must be left out for the codes of a neural codec"),
    ],
)
def test_items_say_what_is_wrong(item: dict[str, object], message: str) -> None:
    codec = SpeechCodec(VOCABULARY, vocoder=Decoder())
    with pytest.raises(ValueError, match=re.escape(message)):
        spoken_item(codec, {"id": "x", **item}, Voice(), False)


def test_the_server_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=re.escape("such as [Co0_0], but one is [Se5]")):
        parse_speech("[Se5][Ac0_1]", VOCABULARY)
    decoder = Decoder()

    model = SimpleNamespace(vocoder=decoder, synthesis=CodebookSynthesis(decoder, VOCABULARY), vocabulary=VOCABULARY)
    session = Session(model)  # type: ignore[arg-type]
    tokens = parse_speech("[Co0_1][Co1_1]", VOCABULARY)
    assert len(session.vocode(tokens).waveform) == 8
    with pytest.raises(ValueError, match="durations must be left out for the codes of a neural codec"):
        session.vocode(tokens, [1, 1, 1])
    with pytest.raises(ValueError, match="at least one whole frame of 2 codes"):
        session.vocode(tokens[:1])
