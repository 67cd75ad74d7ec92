"""The second moment of a stream of vectors in bounded memory: exact for small widths, Frequent Directions above.

Frequent Directions (Liberty, KDD 2013; Ghashami et al., SIAM J. Comput. 2016): a buffer of 2 * size rows whose
singular values are shrunk when it is full; every direction's energy is underestimated by at most total / size.
"""

import torch

EXACT = 512  # widths to here keep their whole (width, width) second moment, which is no larger than a sketch would be
SIZE = 256  # directions that a wider sketch tells apart
NORM_CAP = 4.0


class Sketch:
    """Of vectors of `width`, on `device`. total: their summed energy (squared norms), exact."""

    def __init__(self, width: int, device: torch.device | str) -> None:
        self.width, self.total = width, 0.0
        self._exact = width <= EXACT
        shape = (width, width) if self._exact else (2 * SIZE, width)
        self._rows = torch.zeros(shape, dtype=torch.float32, device=device)
        self._filled = 0

    @staticmethod
    def bytes(width: int) -> int:
        """Memory that a sketch of this width holds."""
        return 4 * width * (width if width <= EXACT else 2 * SIZE)

    def add(self, vectors: torch.Tensor) -> None:
        """(n, width), any float dtype."""
        vectors = vectors.float()
        energy = float(vectors.double().square().sum())
        if self._exact:
            self._rows += vectors.T @ vectors
            self.total += energy
            return
        for chunk in vectors.split(SIZE):
            if self._filled + len(chunk) > len(self._rows):
                self._shrink()
            self._rows[self._filled : self._filled + len(chunk)] = chunk
            self._filled += len(chunk)
        self.total += energy  # last, as elsewhere: where memory runs out on the way, the same vectors come again

    def _shrink(self) -> None:
        _, values, vectors = torch.linalg.svd(self._rows[: self._filled], full_matrices=False)
        floor = values[SIZE].square() if len(values) > SIZE else values.new_zeros(())
        kept = (values[:SIZE].square() - floor).clamp(min=0).sqrt()
        self._rows.zero_()
        self._rows[: len(kept)] = kept[:, None] * vectors[: len(kept)]
        self._filled = len(kept)

    def directions(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Energies (k,) in falling order and their orthonormal directions (k, width), fp32."""
        if self._exact:
            values, vectors = torch.linalg.eigh(self._rows.double())
            return values.flip(0).clamp(min=0).float(), vectors.flip(1).T.float().contiguous()
        _, values, vectors = torch.linalg.svd(self._rows[: self._filled], full_matrices=False)
        return values.square(), vectors


def cap_norms(vectors: torch.Tensor) -> torch.Tensor:
    """Scales vectors (n, width) down to at most NORM_CAP times the median norm.

    A few tokens of large models (attention sinks) have activations a thousand times the rest and would be all of the
    energy; capped, they still count as a direction to protect, but not as the only one.
    """
    norms = vectors.norm(dim=-1, keepdim=True)
    ceiling = NORM_CAP * norms.median()
    return vectors * (ceiling / norms.clamp(min=1e-12)).clamp(max=1.0)
