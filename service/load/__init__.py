"""`edge-es bench-serve`: what requests feel of learning, and what learning gets beside them. Knows HTTP alone."""
