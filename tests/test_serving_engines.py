"""The three engines give the same times; what must be conserved is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import settings as how
from servecases import clusters, requests

from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served

SAME_S = 1e-9


def same(a: Served, b: Served) -> None:
    for name in ("first_token_s", "done_s", "max_gap_s"):
        x, y = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y), err_msg=name)
        np.testing.assert_allclose(x, y, rtol=0, atol=SAME_S, err_msg=name)
    for name in ("preemptions", "rejected", "replica"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for name in ("steps", "prefill_tokens", "decode_tokens", "cached_tokens"):
        np.testing.assert_array_equal(getattr(a.totals, name), getattr(b.totals, name), err_msg=name)
    np.testing.assert_allclose(a.totals.busy_s, b.totals.busy_s, rtol=0, atol=SAME_S)


@how(max_examples=300)
@given(requests(), clusters())
def test_jumps_give_the_times_of_single_steps(r: Requests, cluster: Cluster) -> None:
    same(simulate(r, cluster, engine="iter"), simulate(r, cluster, engine="jump"))
