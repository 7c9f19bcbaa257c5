"""A mapped op, run: its tiles one by one, with real values in explicit buffers, every byte and cycle counted.

The oracle of the cost model. It shares no formula of bytes, steps or room with it: it lists the points of every
statement (`points`), deals their tiles to instances (`walk`), copies what they touch from memory to memory (`buffers`),
computes (`body`, `rescale`) and adds up the time of every step (`clock`). What it takes as given: the loops and widths
of the problem, which operations a statement has, and how long a unit's template says that one tile takes.
"""

from dfcompiler.replay.buffers import LEVELS
from dfcompiler.replay.run import Replay, drawn, replay
from dfcompiler.replay.walk import Mapped

__all__ = ["LEVELS", "Mapped", "Replay", "drawn", "replay"]
