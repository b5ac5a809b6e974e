"""Flite of Debian, where it can be fetched."""

from pathlib import Path

import pytest

from spiritlm_pl.corpora.debian import PackageError, fetch_packages
from spiritlm_pl.corpora.synthetic.flite import PACKAGE


@pytest.fixture(scope="session")
def flite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the package."""
    folder = tmp_path_factory.mktemp("flite")
    try:
        fetch_packages([PACKAGE], folder)
    except PackageError as error:
        pytest.skip(f"Flite cannot be fetched here: {error}")
    return folder
