"""The outer loop: which chips and systems serve a workload best, found by studies of whole spaces."""
