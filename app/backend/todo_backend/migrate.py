"""Brings the database to the newest schema, once, however many replicas start at the same moment."""

import logging
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"

# Any number that no other user of the same database takes for its own lock.
LOCK = 7_463_112_004

RETRY_SECONDS = 0.5


def migrate(engine: Engine) -> None:
    """Runs what is missing in one transaction: it is applied as a whole, or not at all."""
    with _locked(engine) as connection:
        _upgrade(connection)


def migrate_when_reachable(engine: Engine, stop: threading.Event) -> bool:
    """Waits for a database that is still starting. False when told to stop first.

    A database that answers and refuses a migration is no matter of waiting: that error is raised.
    """
    last = ""
    while not stop.is_set():
        try:
            connection = _locked(engine)
        except OperationalError as error:
            reason = str(error.orig).strip()
            if reason != last:
                log.warning("waiting for the database: %s", reason)
                last = reason
            stop.wait(RETRY_SECONDS)
        else:
            with connection:
                _upgrade(connection)
            return True
    return False


def _locked(engine: Engine) -> Connection:
    """A connection that is alone until its transaction ends: a second replica waits here, then has nothing to do."""
    connection = engine.connect()
    try:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    except BaseException:
        connection.close()
        raise
    return connection


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
