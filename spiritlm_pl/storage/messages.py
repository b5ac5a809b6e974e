"""Addresses of object storage, and messages about stores that cannot be used."""

EXTRAS = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs")}
LONGEST_REASON = 300  # characters


def protocol_of(url: str) -> str:
    """Return the protocol of an address, such as s3."""
    return url.partition(":")[0].lower()


def bucket_of(url: str) -> str:
    """Return the address of the bucket that an address is in."""
    protocol, _, rest = url.partition("://")
    return f"{protocol}://{rest.partition('/')[0]}"


def missing_package(url: str, error: ImportError) -> ModuleNotFoundError:
    """Return an error that names the package that an address needs, and how to install it."""
    package, extra = EXTRAS.get(protocol_of(url), (None, None))
    if package is None:
        return ModuleNotFoundError(f"{url} cannot be read: {error}")
    reason = reason_of(error.__cause__ or error)  # which may be another package that it needs
    return ModuleNotFoundError(
        f'{url} needs {package}, which cannot be imported ({reason}): pip install "spiritlm-pl[{extra}]"'
    )


def unknown_protocol(url: str) -> ValueError:
    """Return an error about an address whose protocol no package knows."""
    return ValueError(f"{url} must begin with s3://, gs://, hf:// or another protocol of fsspec, but does not")


def reason_of(error: BaseException) -> str:
    """Return what an error says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."
