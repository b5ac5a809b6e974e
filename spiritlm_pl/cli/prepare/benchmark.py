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
        spiritlm prepare benchmark sblimp data/benchmarks/slm21 --grammar pairs.yaml --text-only

    Args:
        kind: which benchmark to make: swuggy.
        out: the folder to write; swuggy and sblimp may share one, as in the published download.
        language: language as eSpeak NG names it, such as de or pt-br. If not given, that of the voices, else English.
        voices: eSpeak NG voices, such as de or de+f2. If not given, the language's own voice with variants, as many as
            the kind needs.
        count: number of items, such as pairs of words. If not given, as many as make a small benchmark of the kind.
        seed: seed of all that is drawn; the same seed gives the same files, samples included.
        lexicon: a text file of words, one a line (swuggy). If not given, built-in English ones.
        grammar: a YAML file of templates. If not given, built-in English ones.
        stories: a text file of stories or sentences. If not given, built-in English ones.
        text: a text file in which the words of swuggy are counted, usually the text that a model was trained on. If
            not given, built-in stories, or no frequencies with a lexicon of your own.
        layout: name of the layout, for kinds that have several. If not given, the usual one.
        speed: rate of speech in words a minute, 80 to 450.
        text_only: write a table of what is to be recorded, and the benchmark's own tables, but no audio.
        num_jobs: number of processes; if not given, one a core.
    """
    from spiritlm_pl.benchmarks.make.kinds import make_benchmark

    files = {"lexicon": lexicon, "grammar": grammar, "stories": stories, "text": text}
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
