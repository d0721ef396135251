"""Puts the parts together."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from sqlalchemy import Engine, exc

from todo_backend import __version__
from todo_backend.api import chat, health, todos
from todo_backend.chat import Assistant
from todo_backend.chat.cohere import CohereAssistant, cohere_client
from todo_backend.chat.plain import PlainAssistant
from todo_backend.config import Settings
from todo_backend.database import connect
from todo_backend.migrate import migrate_when_reachable
from todo_backend.todos import TodoStore

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    settings = settings or Settings()
    engine = connect(settings.database_url.get_secret_value())
    migrated = threading.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        """Serves `/health` from the first moment on; `/ready` follows when the migrations are through."""
        stop = threading.Event()
        task = asyncio.create_task(asyncio.to_thread(_prepare, engine, migrated, stop))
        yield
        stop.set()
        await task
        engine.dispose()

    app = FastAPI(title="Todo Chatbot", version=__version__, lifespan=lifespan)
    app.state.engine = engine
    app.state.migrated = migrated
    app.state.store = TodoStore(engine)
    app.state.assistant = _assistant(settings, app.state.store)
    if settings.backend_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.backend_cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Content-Type"],
        )
    for away in (exc.OperationalError, exc.TimeoutError):
        app.add_exception_handler(away, _database_away)
    for part in (health, todos, chat):
        app.include_router(part.router)
    return app


def _prepare(engine: Engine, migrated: threading.Event, stop: threading.Event) -> None:
    try:
        if migrate_when_reachable(engine, stop):
            migrated.set()
            log.info("the database is ready")
    except Exception:
        # A migration that is refused will be refused again: die visibly instead of never becoming ready.
        log.exception("cannot migrate the database")
        os._exit(1)


def _assistant(settings: Settings, store: TodoStore) -> Assistant:
    plain = PlainAssistant(store)
    if settings.cohere_api_key is None:
        return plain
    client = cohere_client(settings.cohere_url, settings.cohere_api_key.get_secret_value())
    return CohereAssistant(client, settings.cohere_model, store, fallback=plain)


def _database_away(_: Request, error: Exception) -> JSONResponse:
    log.warning("the database does not answer: %s", error)
    return JSONResponse({"detail": "the database does not answer"}, status_code=503)
