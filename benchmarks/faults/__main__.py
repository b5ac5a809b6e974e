"""A campaign of faults: kills, damaged files, mutated inputs, many users; hours long when it is run in full.

    python -m benchmarks.faults --count 20                        # some minutes: 20 trials of every kind
    python -m benchmarks.faults --only flips --count 60 --seed 1  # damaged files alone
    python -m benchmarks.faults --only "flips/LM weights" --replay 7

Each trial is a line of JSON in the record, with its seed and number, by which `--replay` runs it again and shows what
it said. The table at the end counts the verdicts: detected (refused in one line that names the file), harmless
(the result is what it must be), silent (another result without a word), unnamed (refused, but the file is not named),
traceback (also messages of several lines), crash, hang, and lost (something good is gone).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from benchmarks.faults.trial import BAD, Trial, line, table

CAMPAIGNS = ("kills", "flips", "mutations", "users")


def chosen(kinds: list[str], campaign: str, only: list[str]) -> list[str]:
    """Return the kinds of a campaign that are asked for: all, or those named by `--only CAMPAIGN/KIND`."""
    if not only or campaign in only:
        return kinds
    return [kind for kind in kinds if f"{campaign}/{kind}" in only]


def in_turn(kinds: dict[tuple[str, str], Callable[[int], Trial]], count: int, first: int) -> Iterator[Trial]:
    """Run trials of all kinds in turn, so that a campaign that is cut short has some of each."""
    for number in range(first, first + count):
        for run in kinds.values():
            yield run(number)


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="seed of all that is drawn")
    parser.add_argument("--count", type=int, default=20, help="trials of every kind")
    parser.add_argument("--only", action="append", default=[], help=f"{', '.join(CAMPAIGNS)}, or CAMPAIGN/KIND; repeat")
    parser.add_argument("--replay", type=int, help="run the trial of this number again, of each kind of --only")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of users")
    parser.add_argument("--users", type=int, default=100, help="number of users at a time")
    parser.add_argument("--most-minutes", type=float, default=float("inf"), help="begin no trial after so many minutes")
    parser.add_argument(
        "--scratch", type=Path, help="folder to work in; the world in it is kept. A temporary one if none"
    )
    parser.add_argument("--record", type=Path, default=Path("faults.jsonl"), help="file of trials, appended to")
    options = parser.parse_args()
    scratch = options.scratch or Path(tempfile.mkdtemp(prefix="faults-"))
    sys.exit(campaign(options, scratch.resolve()))


def campaign(options: argparse.Namespace, scratch: Path) -> int:
    """Run what the options ask for, and return 1 if anything bad was found."""
    from benchmarks.faults.flips import TARGETS, Flips
    from benchmarks.faults.kills import STAGES, Kills
    from benchmarks.faults.mutations import KINDS, Mutations
    from benchmarks.faults.users import Users
    from benchmarks.faults.world import imports, make_world

    imports()
    root = make_world(scratch / "world")
    work, seed = scratch / "work", options.seed
    kinds: dict[tuple[str, str], Callable[[int], Trial]] = {}
    known = {"kills": (Kills, [*STAGES]), "flips": (Flips, [*TARGETS]), "mutations": (Mutations, [*KINDS])}
    for name, (make, every) in known.items():
        run = make(root, work, seed).trial
        kinds |= {(name, kind): partial(run, kind) for kind in chosen(every, name, options.only)}
    first, count = (0, options.count) if options.replay is None else (options.replay, 1)
    runs = [in_turn(kinds, count, first)]
    if not options.only or "users" in options.only:
        users = Users(root, work / "users", seed, options.users, options.minutes)
        runs.append(users.trial("page and API", number) for number in range(1))
    done: list[Trial] = []
    since = time.monotonic()
    options.record.parent.mkdir(parents=True, exist_ok=True)
    with options.record.open("a", encoding="utf-8") as record:
        for trial in chain.from_iterable(runs):
            done.append(trial)
            print(line(trial), file=record, flush=True)
            if trial.verdict in BAD or options.replay is not None:
                print(line(trial), flush=True)
            if time.monotonic() - since > 60 * options.most_minutes:
                break
    print(f"seed {seed}, {time.monotonic() - since:.0f} s\n{table(done)}")
    return int(any(trial.verdict in BAD for trial in done))


if __name__ == "__main__":
    main()
