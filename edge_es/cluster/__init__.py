"""The population on more machines, by Ray (`edge-es[ray]`). What crosses is ledger rows, seeds, items and numbers.

way.py      how a worker gets to a version: the ledger's rows, as few as it takes
worker.py   one machine: the same base, a delta that follows the ledger, scores. Knows no network
crew.py     the workers as the serving machine sees them: started, checked, handed work, lost, replaced
evaluator.py   an evaluator by such a crew
rays.py     all that is known of Ray
extra.py    whether it is installed
driven.py   the same evaluator by a process of its own, which is what a daemon has
driver.py, driving.py, link.py   that process, what it does, and what the two say to each other

Ray ends the process that drives it when its cluster has been gone for a minute, and the kernel ends what a thread has
started when the thread ends: so a daemon drives it by a child.
"""
