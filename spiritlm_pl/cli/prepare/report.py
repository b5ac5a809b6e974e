"""Summary that is printed once a corpus is made."""

import sys
from pathlib import Path

from spiritlm_pl.corpora.layout import read_info


def report(out: str | Path) -> None:
    """Print the size of a corpus, its skipped utterances, its licence, and a warning for empty splits."""
    info = read_info(out)
    assert info is not None
    parts = ", ".join(
        f"{split} {count} ({info['seconds'][split] / 60:.1f} min)" for split, count in info["utterances"].items()
    )
    skipped = f"; {info['skipped']} skipped, listed in {Path(out) / 'skipped.jsonl'}" if info["skipped"] else ""
    print(f"{out}: {parts}{skipped}")
    print(f"word times: {info['aligned']} of {sum(info['utterances'].values())} utterances")
    print(f"licence: {info['licence']}")
    empty = [split for split, count in info["utterances"].items() if not count]
    if empty:
        fractions = [f"--{split}-fraction" for split in empty if f"{split}_fraction" in info.get("arguments", {})]
        remedy = f" or a larger {' and '.join(fractions)}" if fractions else ""
        print(f"warning: no utterance for {' and '.join(empty)}: give more data{remedy}", file=sys.stderr)
