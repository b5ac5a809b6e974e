"""Speech of the word that ends answers: a recording, or eSpeak NG."""

from hashlib import sha256
from pathlib import Path

from spiritlm_pl.benchmarks.few_shot.drawing import check_texts
from spiritlm_pl.benchmarks.readers.word_cuts import written_once
from spiritlm_pl.corpora.audio import SAMPLE_RATE
from spiritlm_pl.corpora.files import plain_name
from spiritlm_pl.generation.types import Speech
from spiritlm_pl.runtime.found import found_at


def spoken_word(word: str, recording: str | None, voice: str, cache: Path) -> Speech:
    """Return the speech of a word.

    Args:
        word: word to say.
        recording: path of a recording of it; None to have eSpeak NG say it.
        voice: voice of eSpeak NG, such as en-us or en-gb+f2.
        cache: folder to which eSpeak's speech is written, once.

    Raises:
        FileNotFoundError: if there is no such recording.
        ValueError: if there is no such voice, or one of the two is no text.
    """
    check_texts(stop_audio=recording, stop_voice=voice)
    if recording is not None:
        path = Path(recording).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"stop_audio must be a recording of {word!r}, but {found_at(path)}")
        return Speech(path)
    from spiritlm_pl.benchmarks.make.speaking import say
    from spiritlm_pl.corpora.synthetic.espeak import Voice
    from spiritlm_pl.corpora.synthetic.spoken import check_voices

    check_voices([voice], "stop_voice")
    name = f"{plain_name(word)}-{plain_name(voice)}-{sha256(f'{word} {voice}'.encode()).hexdigest()[:12]}.wav"
    return Speech(written_once(cache / name, 0, lambda: (say(word, Voice(voice)).waveform, SAMPLE_RATE)))
