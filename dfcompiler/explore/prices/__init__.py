"""Prices of all designs of a pool at once, under a static model that is exact for products."""

from dfcompiler.explore.prices.static import StaticPrices

__all__ = ["StaticPrices"]
