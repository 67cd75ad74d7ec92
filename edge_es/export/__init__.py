"""What was learned, for others: a PEFT adapter, a whole model, or the delta with the proof of where it comes from.

Each is written into a temporary folder beside its place, made durable, and renamed: a reader sees all of it or none.
"""

from edge_es.export.delta import export_delta, read_delta
from edge_es.export.folder import Origin, Written
from edge_es.export.merged import export_merged
from edge_es.export.peft import export_peft
from edge_es.export.peft_import import read_peft

__all__ = ["Origin", "Written", "export_delta", "export_merged", "export_peft", "read_delta", "read_peft"]
