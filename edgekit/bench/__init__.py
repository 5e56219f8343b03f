"""The benchmark on the developer's machine: all variants of a result in one interleaved run, and their quality."""
