"""`dfc report`: one HTML file, with nothing from a network, on whatever results a folder holds."""

from dfcompiler.pages.page import page
from dfcompiler.pages.results import KINDS, Kind, Result, results

__all__ = ["KINDS", "Kind", "Result", "page", "results"]
