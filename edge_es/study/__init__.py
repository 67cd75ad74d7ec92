"""The paper's experiment (arXiv 2601.20861) on models that run here: what each way of learning gains, and forgets.

A cell is one arm on one task with one seed. `material` says what is taught and what must be kept, a file an arm how it
learns, `measure` what is looked at on the way; `cell` runs one and `report` and `figures` tell all. Nothing of it is
used by the daemon.
"""
