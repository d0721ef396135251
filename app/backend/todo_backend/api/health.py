"""What the cluster asks: is the process alive, and may it be sent requests."""

import logging

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from todo_backend import __version__

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])


class Health(BaseModel):
    status: str
    version: str = __version__


class Readiness(BaseModel):
    status: str
    reason: str | None = None


@router.get("/health")
async def health() -> Health:
    """Only the process: a database that is away is no reason to restart it."""
    return Health(status="ok")


@router.get("/ready", response_model_exclude_none=True, responses={503: {"model": Readiness}})
def ready(request: Request, response: Response) -> Readiness:
    """The database answers, and its schema is the one this version needs."""
    reason = None
    if not request.app.state.migrated.is_set():
        reason = "the database is not migrated yet"
    else:
        try:
            with request.app.state.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            log.warning("not ready: %s", error)
            reason = "the database does not answer"
    if reason is None:
        return Readiness(status="ready")
    response.status_code = 503
    return Readiness(status="unavailable", reason=reason)
