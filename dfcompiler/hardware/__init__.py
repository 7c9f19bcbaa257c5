"""What can be built: templates, their axes and costs, and the chips that are composed of them."""

from dfcompiler.hardware.chip import Chip, Level, Part, Unit
from dfcompiler.hardware.elaboration import chip_names, elaborate, find_chip, load_chip

__all__ = ["Chip", "Level", "Part", "Unit", "chip_names", "elaborate", "find_chip", "load_chip"]
