"""Checking that something has the members of a contract, with a message that names what is missing."""

from typing import Any, Protocol, TypeVar

Contract = TypeVar("Contract")


def members_of(contract: type) -> list[str]:
    """Names of all attributes and methods of a Protocol, those that it inherits from other ones included."""
    names: dict[str, None] = {}
    for kind in reversed(contract.__mro__):
        if kind not in (object, Protocol) and getattr(kind, "_is_protocol", False):
            own = [*getattr(kind, "__annotations__", {}), *vars(kind)]
            names |= dict.fromkeys(name for name in own if not name.startswith("_") or name == "__call__")
    return list(names)


def checked(found: Any, contract: type[Contract], argument: str, wanted_by: object) -> Contract:
    """Return something that has all members of a contract.

    Args:
        found: what may have them.
        contract: a Protocol.
        argument: what it is, for the error: "data", "module", "vocoder".
        wanted_by: an object whose class asks for it, for the error.

    Raises:
        ValueError: naming the first member that is missing.
    """
    missing = [name for name in members_of(contract) if not hasattr(found, name)]
    if missing:
        raise ValueError(
            f"{argument} must have {', '.join(members_of(contract))} ({contract.__module__}.{contract.__name__}) for "
            f"{type(wanted_by).__name__}, but {type(found).__name__} has no {missing[0]}"
        )
    result: Contract = found
    return result
