"""STSP in four directions, without and with shots; their names are entry points of `spiritlm_pl.benchmarks`."""

from spiritlm_pl.benchmarks.contract import Info
from spiritlm_pl.benchmarks.stsp.benchmark import SentimentBenchmark
from spiritlm_pl.benchmarks.stsp.figures import figures
from spiritlm_pl.benchmarks.stsp.items import WAY, Direction
from spiritlm_pl.benchmarks.stsp.judging import SentimentJudging
from spiritlm_pl.benchmarks.stsp.reader import SentimentReader
from spiritlm_pl.generation.sampling import GenerationSettings

NEEDS = {"text": "language model, text classifier", "speech": "language model, vocoder, audio classifier"}
MOST_SHOTS = 9
CHANCE = 100 / 3


def _stsp(direction: Direction, num_shots: int = 0) -> SentimentBenchmark:
    tokenizer = ", speech tokenizer" if "speech" in (direction.prompt, num_shots and direction.answer) else ""
    info = Info(
        title=f"STSP{f', {num_shots} shots' if num_shots else ''}, {direction.name}",
        measures=f"sentiment of the prompt kept in the answer, {direction.name}",
        licence="see the archive; Expresso is CC BY-NC 4.0, EmoV-DB not for commercial use",
        source="stsp.tar.gz, github.com/facebookresearch/spiritlm",
        needs=NEEDS[direction.answer].replace("language model", f"language model{tokenizer}"),
        size="867 utterances in the test split, or any corpus with styles",
        sets=("few_shot",) if num_shots else ("paper",),
        data="stsp",
        published=WAY,
        unit="kept, %",
        chance=CHANCE,
    )
    sampling = GenerationSettings(temperature=0.8, top_p=0.95)
    reader, judging = SentimentReader(direction, num_shots), SentimentJudging(direction)
    return SentimentBenchmark(info, reader, judging, sampling, figures, direction=direction)


TEXT, SPEECH = Direction("text", "text"), Direction("speech", "speech")
TEXT_TO_SPEECH, SPEECH_TO_TEXT = Direction("text", "speech"), Direction("speech", "text")
STSP, STSP_TEXT = _stsp(SPEECH), _stsp(TEXT)
STSP_TEXT_TO_SPEECH, STSP_SPEECH_TO_TEXT = _stsp(TEXT_TO_SPEECH), _stsp(SPEECH_TO_TEXT)
STSP_FEW_SHOT, STSP_TEXT_FEW_SHOT = _stsp(SPEECH, MOST_SHOTS), _stsp(TEXT, MOST_SHOTS)
STSP_TEXT_TO_SPEECH_FEW_SHOT = _stsp(TEXT_TO_SPEECH, MOST_SHOTS)
STSP_SPEECH_TO_TEXT_FEW_SHOT = _stsp(SPEECH_TO_TEXT, MOST_SHOTS)
