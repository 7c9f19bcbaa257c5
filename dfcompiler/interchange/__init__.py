"""Files of other tools: hardware and workloads as text of ours, mappings as text of theirs.

A reader turns a foreign file into plain facts (`Machine`, `Work`) and says of every value that it did not use why it
did not. Which families of ours the facts stand for is content: `templates/interchange`.
"""

from dfcompiler.interchange.formats import Imported, read_foreign

__all__ = ["Imported", "read_foreign"]
