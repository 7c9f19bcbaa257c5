"""Serving: what users of a system feel, from requests, step latencies and the rules of a serving engine.

`requests` and `table` are what goes in, `settings` and `cluster` say how it is served, `served` is what comes out;
`engine.simulate` goes from the ones to the other.
"""
