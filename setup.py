"""Builds libsonde.so with make and puts it beside the module. Needs what tools/deps installs."""
import os
import shutil
import subprocess

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py


class Build(build_py):
    def run(self):
        super().run()
        subprocess.run(["make", f"-j{os.cpu_count() or 1}", "out/release/libsonde.so"], check=True)
        shutil.copy("out/release/libsonde.so", os.path.join(self.build_lib, "sonde", "libsonde.so"))


class Binary(Distribution):
    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": Build}, distclass=Binary)
