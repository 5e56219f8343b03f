"""The benchmark: fresh processes, interleaved, with intervals."""
