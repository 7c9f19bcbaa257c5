"""Whole kernels of GPUs, priced by their structure: pure functions of numpy arrays, a row per problem."""

from dfcompiler.kernels.contraction import contraction as contraction
from dfcompiler.kernels.decode import decode as decode
from dfcompiler.kernels.device import Device as Device
from dfcompiler.kernels.device import device_of as device_of
from dfcompiler.kernels.elementwise import elementwise as elementwise
from dfcompiler.kernels.generation import Generation as Generation
from dfcompiler.kernels.generation import Scale as Scale
from dfcompiler.kernels.generation import generations as generations
from dfcompiler.kernels.generation import load_generation as load_generation
from dfcompiler.kernels.grouped import Load as Load
from dfcompiler.kernels.grouped import fused_experts as fused_experts
from dfcompiler.kernels.grouped import grouped as grouped
from dfcompiler.kernels.latency import Latency as Latency
from dfcompiler.kernels.prefill import prefill as prefill
