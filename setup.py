"""Which folders become packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

CONTENT = {f"dfcompiler._content.{kind}": kind for kind in ("ir", "templates", "passes", "policies", "explanations")}

setup(packages=[*find_packages(include=["dfcompiler", "dfcompiler.*"]), *CONTENT], package_dir=CONTENT)
