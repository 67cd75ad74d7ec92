"""`edge-es bench`: this machine's own figures, learning beside plain inference and beside what others do. Each thing
that is measured has a file; `calls.py` is the only one that knows how the library scores, steps and decodes."""
