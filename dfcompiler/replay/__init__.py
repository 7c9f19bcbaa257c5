"""A mapped op, run: its tiles one by one, with real values in explicit buffers, every byte and cycle counted.

The oracle of the cost model. It shares no formula with it: it lists the points of every statement (`points`), deals
their tiles to instances (`walk`), copies what they touch from memory to memory (`buffers`), computes (`body`,
`rescale`) and adds up the time of every step (`clock`).
"""

from dfcompiler.replay.buffers import LEVELS
from dfcompiler.replay.run import Replay, drawn, replay
from dfcompiler.replay.walk import Mapped

__all__ = ["LEVELS", "Mapped", "Replay", "drawn", "replay"]
