"""A value that rises as the deadline nears."""

from typing import ClassVar

import numpy as np

from dfcompiler.serving.policy import Policy
from dfcompiler.serving.requests import Floats, Ints, Requests


class RisingValue(Policy, name="rising-value"):
    """Short prompts first, until a request nears its deadline; one that has missed it waits for the others.

    The idea is Ascendra's (arXiv 2504.20828): requests run out of order for throughput while there is time, and
    urgency rises towards the deadline. The formula is ours: the part of the promised time that has passed, over the
    tokens that are to be computed, so that the value of a long prompt overtakes that of a short one in the end.
    """

    period_s: ClassVar[float] = 0.05  # our estimate: some steps
    urgent: float = 0.8  # part of the promised time after which nothing but the deadline counts; our estimate

    def key(self, requests: Requests, now_s: Floats, generated: Ints) -> Floats:
        passed = (now_s - requests.arrival_s) / requests.ttft_slo_s
        tokens = requests.prompt_tokens + generated
        value = (1e-3 + passed) / tokens
        late = (passed > 1) & (generated == 0)
        urgent = (generated > 0) | ((passed >= self.urgent) & ~late)
        # Three classes, and within each a key between 0 and 1.
        return np.where(urgent, 0.0, np.where(late, 2.0, 1.0)) + 1 / (1 + np.where(urgent, passed, value))
