"""Checking that something has the members of a contract, with a message that names what is missing."""

from typing import Any, Protocol, TypeVar

Contract = TypeVar("Contract")


def members_of(contract: type) -> list[str]:
    """Return the names of all attributes and methods of a Protocol, inherited ones included."""
    names: dict[str, None] = {}
    for kind in reversed(contract.__mro__):
        if kind not in (object, Protocol) and getattr(kind, "_is_protocol", False):
            own = [*getattr(kind, "__annotations__", {}), *vars(kind)]
            names |= dict.fromkeys(name for name in own if not name.startswith("_") or name == "__call__")
    return list(names)


def checked(found: Any, contract: type[Contract], argument: str, wanted_by: object) -> Contract:
    """Check that an object has all members of a contract, and return it.

    Args:
        found: object that is checked and returned.
        contract: Protocol whose members it must have.
        argument: role of the object, such as "data", "module" or "vocoder"; the error names it.
        wanted_by: object that needs the members; the error names its class.

    Raises:
        ValueError: if a member is missing; the message names the first one.
    """
    missing = [name for name in members_of(contract) if not (hasattr(found, name) or hasattr(type(found), name))]
    if missing:
        raise ValueError(
            f"{argument} must have {', '.join(members_of(contract))} ({contract.__module__}.{contract.__name__}) for "
            f"{type(wanted_by).__name__}, but {type(found).__name__} has no {missing[0]}"
        )
    result: Contract = found
    return result
