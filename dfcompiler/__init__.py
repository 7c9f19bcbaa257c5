"""A compiler that maps large language models onto chips made of heterogeneous dataflow units."""

__version__ = "0.1.0"
