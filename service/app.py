"""The application: every router with the token it asks for, in one table."""

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from edge_es.config import Config
from service import listings, openapi
from service.api import (
    administration,
    chat,
    completions,
    dashboard,
    events,
    feedback,
    health,
    models,
    overview,
    retention,
    stories,
    tasks,
    transfers,
)
from service.context import Context, Engine
from service.errors import install
from service.history import History
from service.metrics import CountRequests, DeviceSeconds, Metrics, StatusGauges
from service.news import News
from service.rate import RateLimit
from service.security import Perimeter, allowed_hosts, require_admin, require_chat
from service.store import Store
from service.tokens import Keyring

OPEN = (health.open_router, dashboard.router)
CHAT = (chat.router, completions.router, models.router, health.router, overview.router, events.router)
ADMIN = (feedback.router, tasks.router, administration.router, transfers.router, retention.router, stories.router)


def create_app(config: Config, store: Store, engine: Engine) -> FastAPI:
    """The API over a store and an engine, which the caller starts and stops.

    Raises StateError where the folder's tokens are damaged.
    """
    metrics = Metrics()
    news = News(store.count_events)
    context = Context(config, store, engine, Keyring(store.folder), metrics, news, History(store))
    engine.subscribe(news.tell)
    metrics.registry.register(StatusGauges(lambda: listings.status(store, context.live_status())))
    metrics.registry.register(DeviceSeconds(lambda: live.seconds if (live := context.live_status()) else {}))
    app = FastAPI(title="edge-es", openapi_url=None, redirect_slashes=False)
    app.state.context = context
    tables = (*OPEN, *CHAT, *ADMIN)
    install(app, [route for router in tables for route in router.routes if isinstance(route, APIRoute)])
    for router in OPEN:
        app.include_router(router, tags=[openapi.OPEN])
    for router in CHAT:
        app.include_router(router, dependencies=[Depends(require_chat)], tags=[openapi.CHAT])
    for router in ADMIN:
        app.include_router(router, dependencies=[Depends(require_admin)], tags=[openapi.ADMIN])
    if config.serve.rate is not None:
        app.add_middleware(RateLimit, rate=config.serve.rate, tokens=context.keyring.tokens)
    app.add_middleware(Perimeter, hosts=allowed_hosts(config.serve))
    app.add_middleware(CountRequests, metrics=metrics)
    return app
