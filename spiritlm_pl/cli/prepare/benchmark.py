"""The command that makes miniatures of benchmarks, in any language of eSpeak NG or for recording."""


def benchmark(
    kind: str,
    out: str,
    language: str | None = None,
    voices: tuple[str, ...] | None = None,
    count: int | None = None,
    seed: int = 0,
    lexicon: str | None = None,
    grammar: str | None = None,
    stories: str | None = None,
    text: str | None = None,
    text_tokenizer: str | None = None,
    layout: str | None = None,
    speed: int = 175,
    text_only: bool = False,
    num_jobs: int | None = None,
) -> None:
    """Make a miniature of a benchmark in the layout of the published one, spoken by eSpeak NG or listed for recording.

    The page "A benchmark in your language" tells what each kind holds, the formats of the files, and what synthetic
    speech can show.

    Examples:
        spiritlm prepare benchmark swuggy data/benchmarks/slm21 --count 200
        spiritlm prepare benchmark swuggy data/benchmarks/polish --language pl --lexicon words.txt --text train.txt
        spiritlm prepare benchmark sblimp data/benchmarks/german --voices '[de, de+f2]' --grammar pairs.yaml
        spiritlm prepare benchmark storycloze data/benchmarks/stories --stories stories.txt --text-only

    Args:
        kind: which benchmark to make: swuggy, sblimp, storycloze, salmon, prosaudit, intents or stsp.
        out: the folder to write; swuggy and sblimp may share one, as in the published download.
        language: language as eSpeak NG names it, such as de or pt-br. If not given, that of the voices, else English.
        voices: eSpeak NG voices, such as de or de+f2. If not given, the language's own voice with variants, as many as
            the kind needs.
        count: number of items: pairs of words or sentences, stories, pairs of each part of salmon, utterances of
            intents and stsp. If not given, as many as make a small benchmark of the kind.
        seed: seed of all that is drawn; the same seed gives the same files, samples included.
        lexicon: a text file of words, one a line (swuggy). If not given, built-in English ones.
        grammar: a YAML file of templates (sblimp, salmon, intents, stsp). If not given, built-in English ones.
        stories: a text file of stories (storycloze) or sentences (salmon, prosaudit). If not given, built-in English
            ones.
        text: a text file in which the words of swuggy are counted, usually the text that a model was trained on. If
            not given, built-in stories, or no frequencies with a lexicon of your own.
        text_tokenizer: a folder or a `.model` file of a text tokenizer. If given, a non-word of swuggy has as many
            tokens as its word, so that written ones can be compared by their summed likelihoods.
        layout: name of the layout, for kinds that have several: whole or cross (storycloze), fsc or slurp (intents).
            If not given, the first of these.
        speed: rate of speech in words a minute, 80 to 450.
        text_only: write a table of what is to be recorded, and the benchmark's own tables, but no audio.
        num_jobs: number of processes; if not given, one a core.
    """
    from spiritlm_pl.benchmarks.make.kinds import make_benchmark

    files = {"lexicon": lexicon, "grammar": grammar, "stories": stories, "text": text, "text_tokenizer": text_tokenizer}
    lines = make_benchmark(
        kind,
        out,
        language=language,
        voices=voices,
        count=count,
        seed=seed,
        layout=layout,
        files=files,
        speed=speed,
        text_only=text_only,
        num_jobs=num_jobs,
    )
    print("\n".join(f"{out}: {line}" for line in lines))
