"""What a crew of workers is like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """address: 'local' (a cluster of one's own on this machine) or a Ray cluster's, such as 'host:6379'. count:
    workers, each of which holds the model; cpus, gpus: of each, gpus may be a share of one. pairs: antithetic pairs
    that are handed out at once. min_share: of the pairs, with which a step goes on where the rest is lost. patience:
    seconds after which a worker that does not answer is lost."""

    address: str = "local"
    count: int = 2
    cpus: int = 1
    gpus: float = 0.0
    pairs: int = 4
    min_share: float = 0.75
    patience: float = 120.0
