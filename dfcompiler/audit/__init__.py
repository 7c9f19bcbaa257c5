"""Translation validation of mappings: every mapped op is run tile by tile (`replay`) and compared with its text, which
gives the values, and with the cost model, which claims bytes and cycles.

What is compared is a small instance: all sizes shrunk, tile sizes so that what ran several times still does. It has the
same statements, loops, order, residencies and unit, so a formula that is wrong for the mapping's structure shows;
`rules` says how near a claim must be. A mapping that is small itself is run as it is. The numbers that the mapper
recorded of the large op are compared with those that the cost model gives for its tiling.
"""

from dfcompiler.audit.check import Checked, Fault, check
from dfcompiler.audit.graph import Audit, audit, chosen
from dfcompiler.audit.small import mapped_as, scaled

__all__ = ["Audit", "Checked", "Fault", "audit", "check", "chosen", "mapped_as", "scaled"]
