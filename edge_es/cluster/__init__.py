"""The population on more machines, by Ray (`edge-es[ray]`). What crosses is ledger rows, seeds, items and numbers.

way.py      how a worker gets to a version: the ledger's rows, as few as it takes
settings.py  how many workers, and how long they are waited for
worker.py   one machine: the same base, a delta that follows the ledger, scores. Knows no network
crew.py     the workers as the serving machine sees them: started, checked, handed work, lost, replaced
evaluator.py   an evaluator by such a crew
rays.py     all that is known of Ray

A library's, so far: the daemon does not use it. Ray ends the process that drives it when its cluster is gone for a
minute, and ends what a thread has started when the thread ends: a daemon needs a driver in a process of its own.
"""
