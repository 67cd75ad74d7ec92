"""Live exploration: who answers a request, and the ratings of members that did. Runs on the device thread.

The stock of members is made between requests and lives no longer than its version. The number of the next pair is in
the store before a member of it answers, so that none answers twice, whatever happens to the process.
"""

from edge_es.config import Config
from edge_es.exploration import STEP, Stock, draw, take
from edge_es.feedback import family
from edge_es.live import live_step
from edge_es.slices import Slices
from edge_es.state import State, Surroundings
from service.generation import Generation
from service.serving import Answerer
from service.store import Store

MOST_RATINGS = 1024  # of one step
NEXT = "live_pairs"  # setting: how many pairs were ever drawn


class Exploring:
    """Off unless search.exploration is 'live'; then every question is answered no, and the version answers."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config, self._store = config, store
        self._live = config.search.exploration == "live"
        self._stock: Stock | None = None
        self._barren: int | None = None  # the version of which no member was near enough to the anchor

    def answerer(self, state: State, generation: Generation) -> Answerer:
        """A member, where one is at hand and its answer can be rated: not one of several, nor one to be repeated."""
        stock = self._stock
        alone = len(generation.samplings) == 1 and not generation.repeatable
        if stock is None or not stock.members or stock.version != state.version or not alone:
            return Answerer(state.delta, state.version)
        member, drawn, self._stock = take(stock)
        return Answerer(member, state.version, drawn)

    def end(self) -> None:
        """No further request is answered by a member until there is a new stock."""
        self._stock = None

    def wanted(self, state: State) -> bool:
        """Whether there is no member of this version left, and there can be."""
        if not self._live or not state.delta.parts or self._barren == state.version:
            return False
        return self._stock is None or not self._stock.members or self._stock.version != state.version

    def restock(self, state: State, around: Surroundings) -> Slices[None]:
        """Draws members of this version. Raises StateError, DiskFull."""
        first = self._store.get_setting(NEXT) or 0
        stock = yield from draw(state, first, around)
        self._store.put_setting(NEXT, first + stock.population.pairs)
        self._stock = stock
        self._barren = None if stock.members else state.version

    def rated(self, state: State) -> bool:
        """Whether enough members of this basis were rated for a step. Ratings of others' members go to the turns."""
        own = self._family(state)
        self._store.release(own)
        return own is not None and self._store.count_rated(own) >= self._config.search.population

    def step(self, state: State, around: Surroundings) -> Slices[State]:
        """One live step with all ratings that wait."""
        own = self._family(state)
        assert own is not None
        counted = []
        for event in self._store.rated(own, MOST_RATINGS):
            source = event.tags.get("source", "")
            if self._config.feedback.weight(source):
                counted.append(event)
            else:
                self._store.set_aside([event.id], f"feedback.weights gives its source '{source}' the weight 0")
        return (yield from live_step(state, counted, around)) if counted else state

    def _family(self, state: State) -> str | None:
        if not self._live or not state.delta.parts:
            return None
        return family(self._config.search.seed, STEP, state.delta.active.basis.sha256)
