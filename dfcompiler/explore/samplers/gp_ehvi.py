"""botorch's Gaussian processes with its expected hypervolume improvement, over points that may be chosen."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from botorch.acquisition.multi_objective.logei import qLogExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from gpytorch.mlls import SumMarginalLogLikelihood

from dfcompiler.explore.question import Point
from dfcompiler.explore.samplers.candidates import candidates
from dfcompiler.explore.samplers.magnitudes import scale
from dfcompiler.explore.samplers.sampler import Coordinates, Sampler, points_of

SAMPLES = 64  # of the posterior per candidate
AT_A_TIME = 256  # candidates priced in one call
LEARNED_FROM = 400


class GpEhvi(Sampler, name="gp-ehvi"):
    """First points at random; in a round of several, each is believed to have the values that are expected of it."""

    def ask(self, count: int) -> list[Point]:
        """See `Sampler`."""
        rng = self.rng()
        offered = candidates(self, rng)
        points, values = self.feasible()
        if len(points) < 2:
            return points_of(self.fresh(rng, count))
        points, values = points[-LEARNED_FROM:], values[-LEARNED_FROM:]
        place = Coordinates(self.scene.dimensions)
        known = np.stack([-scale(column)(column) for column in values.T], axis=1)  # botorch maximises
        there, better = (torch.as_tensor(a, dtype=torch.double) for a in (place(points), known))
        torch.manual_seed(int(rng.integers(2**31)))
        chosen: list[int] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its optimiser, on few points
            model = ModelListGP(*(SingleTaskGP(there, better[:, [i]]) for i in range(known.shape[1])))
            fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
            reference = better.min(dim=0).values - 0.1
            options = torch.as_tensor(place(offered), dtype=torch.double)
            for _ in range(min(count, len(offered))):
                gain = qLogExpectedHypervolumeImprovement(
                    model=model,
                    ref_point=reference.tolist(),
                    partitioning=FastNondominatedPartitioning(reference, better),
                    sampler=SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=int(rng.integers(2**31))),
                )
                with torch.no_grad():
                    worth = torch.cat([gain(part[:, None]) for part in options.split(AT_A_TIME)]).numpy()
                worth[chosen] = -np.inf
                chosen.append(int(worth.argmax()))
                with torch.no_grad():
                    better = torch.cat([better, model.posterior(options[chosen[-1:]]).mean])
        return points_of(offered[chosen])
