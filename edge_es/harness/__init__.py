"""lm-evaluation-harness: edge-es as a model of it (`model.py`), and its tasks as probe suites (`tasks.py`).

Needs `pip install 'edge-es[lm-eval]'`; nothing else of the library imports this package.
"""

PREFIX = "lm-eval:"  # of a task where a suite is named
