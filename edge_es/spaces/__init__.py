"""What ES may move. One search space a file; `basis.py` is what they have in common."""
