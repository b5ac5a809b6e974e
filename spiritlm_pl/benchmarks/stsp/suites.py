"""STSP in four directions, without and with shots; their names are entry points of `spiritlm_pl.benchmarks`."""

from spiritlm_pl.benchmarks.catalogue import MOST_SHOTS, info_of
from spiritlm_pl.benchmarks.stsp.benchmark import SentimentBenchmark
from spiritlm_pl.benchmarks.stsp.figures import figures
from spiritlm_pl.benchmarks.stsp.items import Direction
from spiritlm_pl.benchmarks.stsp.judging import SentimentJudging
from spiritlm_pl.benchmarks.stsp.reader import SentimentReader
from spiritlm_pl.generation.settings import GenerationSettings


def _stsp(name: str, direction: Direction, num_shots: int = 0) -> SentimentBenchmark:
    sampling = GenerationSettings(temperature=0.8, top_p=0.95)
    reader, judging = SentimentReader(direction, num_shots), SentimentJudging(direction)
    return SentimentBenchmark(info_of(name), reader, judging, sampling, figures, direction=direction)


TEXT, SPEECH = Direction("text", "text"), Direction("speech", "speech")
TEXT_TO_SPEECH, SPEECH_TO_TEXT = Direction("text", "speech"), Direction("speech", "text")
STSP, STSP_TEXT = _stsp("stsp", SPEECH), _stsp("stsp_text", TEXT)
STSP_TEXT_TO_SPEECH = _stsp("stsp_text_to_speech", TEXT_TO_SPEECH)
STSP_SPEECH_TO_TEXT = _stsp("stsp_speech_to_text", SPEECH_TO_TEXT)
STSP_FEW_SHOT = _stsp("stsp_few_shot", SPEECH, MOST_SHOTS)
STSP_TEXT_FEW_SHOT = _stsp("stsp_text_few_shot", TEXT, MOST_SHOTS)
STSP_TEXT_TO_SPEECH_FEW_SHOT = _stsp("stsp_text_to_speech_few_shot", TEXT_TO_SPEECH, MOST_SHOTS)
STSP_SPEECH_TO_TEXT_FEW_SHOT = _stsp("stsp_speech_to_text_few_shot", SPEECH_TO_TEXT, MOST_SHOTS)
