"""What users of a serving system feel: step latencies, requests, engines, answers."""
