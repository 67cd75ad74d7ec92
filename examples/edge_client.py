"""A conversation as an episode, a correction, and waiting until it is learned: edge-es's own client."""

from edge_es.client import Client

with Client() as edge:
    first = edge.chat("What is 17+25?", session="a-conversation")
    print(first.text, "by version", first.version)
    if first.text.strip() != "42":
        edge.demonstrate("What is 17+25?", "42")
    edge.rate(episode="a-conversation", value=0.5, metric="rating")  # of the whole conversation
    status = edge.wait_for_learning(timeout=600)
    print("version", status.version, {name: suite.retention for name, suite in status.retention.items()})
