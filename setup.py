"""pyproject.toml says all but this: what an earlier build left in build/ and is gone from the tree is not packed."""

import shutil

from setuptools import setup
from setuptools.command.build import build


class FreshBuild(build):
    """A build that begins with an empty folder."""

    def run(self) -> None:
        """Collect the files of the package."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build": FreshBuild})
