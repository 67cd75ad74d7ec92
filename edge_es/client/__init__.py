"""A typed client of a running daemon, plain (`Client`) and for asyncio (`AsyncClient`). Imports httpx, and no torch.

from edge_es.client import Client

with Client() as edge:                       # 127.0.0.1:8420, the admin token of $EDGE_ES_TOKEN or the state folder
    answer = edge.chat("What is 17+25?")
    edge.rate(answer.id, True)
    edge.demonstrate("What is 17+25?", "42, of course")
    edge.wait_for_learning()
"""

from edge_es.client.asynchronous import AsyncClient
from edge_es.client.errors import ApiError, Refused, TooBusy, Unreachable
from edge_es.client.plain import Client
from edge_es.client.values import Answer, Fate, Piece, RetentionRow, Status, SuiteStatus, Version

__all__ = [
    "Answer",
    "ApiError",
    "AsyncClient",
    "Client",
    "Fate",
    "Piece",
    "Refused",
    "RetentionRow",
    "Status",
    "SuiteStatus",
    "TooBusy",
    "Unreachable",
    "Version",
]
