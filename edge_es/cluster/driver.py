"""`python -m edge_es.cluster.driver FD`: the process that drives Ray for a daemon, as its child.

Ray ends the process that drives it when its cluster has been gone for a minute. So the daemon talks to this one over a
socket, and serves on whatever becomes of it. This process ends when the socket does.
"""

import os
import queue
import sys
import threading
import time
from multiprocessing.connection import Connection

LEAVING = 5.0  # seconds that a cluster may take to end


def read(link: Connection, inbox: "queue.SimpleQueue[bytes | None]") -> None:
    """Takes in whatever comes, so that the daemon never waits for a socket that is full."""
    try:
        while True:
            inbox.put(link.recv_bytes())
    except (EOFError, OSError):
        inbox.put(None)
    # Who is in the middle of something that cannot be interrupted must not outlive the daemon.
    time.sleep(LEAVING)
    os._exit(1)


def main() -> None:
    """Reads first and imports then: the daemon does not wait until torch is there."""
    link, inbox = Connection(int(sys.argv[1])), queue.SimpleQueue[bytes | None]()
    threading.Thread(target=read, args=(link, inbox), daemon=True).start()
    from edge_es.cluster import rays
    from edge_es.cluster.driving import Driving, Gone

    try:
        Driving(link, inbox).serve()
    except (Gone, OSError):
        pass  # the daemon has ended; what it knows is on its disk
    finally:
        rays.leave()


if __name__ == "__main__":
    main()
