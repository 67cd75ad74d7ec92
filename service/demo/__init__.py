"""`edge-es demo`: a real daemon is taught, attacked and watched as it rolls back, over its HTTP API."""
