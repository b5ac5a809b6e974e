"""Order of the codes in a stretch of speech: by frames, or in steps where codebooks are delayed (arXiv 2306.05284).

Shards, blocks and documents hold speech frame by frame. Where the vocabulary delays codebooks, a stretch of speech is
put into steps once it is known where it begins and ends: after interleaving, and after rows are cut. A codebook with a
delay of d gives in step s its code of frame s - d. With three codebooks, delays of 0, 1 and 2 frames, and code `kf` of
codebook k and frame f, a stretch of four frames has six steps:

    step          0    1        2           3           4        5
    codebook 0    00   01       02          03
    codebook 1         10       11          12          13
    codebook 2                  20          21          22       23
    tokens        00   01 10    02 11 20    03 12 21    13 22    23

It begins with steps that lack the delayed codebooks and ends with steps that lack the others, so that n frames always
have n codes of each codebook, and none of them stands in another stretch.

Shapes: N tokens, C codebooks of all streams.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from spiritlm_pl.vocabulary import Vocabulary

Ids = TypeVar("Ids", bound=np.integer)


def in_steps(tokens: npt.NDArray[Ids], vocabulary: Vocabulary, cuts: npt.ArrayLike | None = None) -> npt.NDArray[Ids]:
    """Put every stretch of speech into steps; without delays, this changes nothing.

    Args:
        tokens: token ids (N,), speech frame by frame, each frame with its codebooks in their turn. All other tokens
            stay where they are and end a stretch.
        vocabulary: layout of the ids, with the delays.
        cuts: places in the tokens at which a new stretch begins, whether or not other tokens stand between; None for
            none.
    """
    delays = np.array(vocabulary.layout.delays, dtype=np.int64)
    if not len(delays) or not len(tokens):
        return tokens
    first, end = vocabulary.speech_bounds
    spoken = (tokens >= first) & (tokens < end)
    opens = ~spoken
    opens[1:] |= ~spoken[:-1]
    opens[0] = True
    if cuts is not None:
        opens[np.asarray(cuts, dtype=np.int64)] = True
    places = np.arange(len(tokens), dtype=np.int64)
    start = np.maximum.accumulate(np.where(opens, places, 0))
    frame, turn = np.divmod(places - start, len(delays))
    order = np.lexsort((turn, frame + delays[turn], start))
    return tokens[order]


def frame_tokens(vocabulary: Vocabulary) -> int:
    """Return how many tokens of speech must not be parted where a stretch is cut: a frame's, if codebooks are delayed.

    Without delays it is 1: tokens stand frame by frame, and go on in the next row wherever they are cut.
    """
    return len(vocabulary.layout.delays) or 1


def open_length(num_frames: int, vocabulary: Vocabulary) -> int:
    """Return how many tokens of a stretch stand before its closing steps.

    Closing steps are those after the last frame's own, which a stretch has only where it ends. All tokens of a stretch
    without delays stand before them.

    Args:
        num_frames: frames of the stretch.
        vocabulary: layout of the ids, with the delays.
    """
    delays = vocabulary.layout.delays or (0,) * vocabulary.layout.tokens_per_frame
    return sum(max(num_frames - delay, 0) for delay in delays)
