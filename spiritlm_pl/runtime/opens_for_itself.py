"""Objects that keep what they have read from files, each process for itself."""

from functools import cached_property
from typing import Any


class OpensForItself:
    """Base of objects whose cached properties are what they have read.

    A copy in another process reads again: what was read may be large, and need not be sent. Two objects never share
    what they have read, since a path may name another file later on, or in another working directory.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the cached properties."""
        kind = type(self)
        return {k: v for k, v in vars(self).items() if not isinstance(getattr(kind, k, None), cached_property)}
