"""The schema: made once, whoever else is starting; and the same as the models say."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.exc import DatabaseError

from todo_backend.config import Settings
from todo_backend.database import Base, connect
from todo_backend.migrate import migrate, migrate_when_reachable


def test_replicas_that_start_together_migrate_once(url: str) -> None:
    engines = [connect(url) for _ in range(4)]
    with ThreadPoolExecutor(len(engines)) as pool:
        list(pool.map(migrate, engines))
    assert set(inspect(engines[0]).get_table_names()) == {"alembic_version", "todos"}
    for engine in engines:
        engine.dispose()


def test_the_migrations_make_what_the_models_say(url: str) -> None:
    engine = connect(url)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_waiting_for_the_database_ends_when_it_comes(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    engine = connect(f"sqlite:///{folder}/todo.db")
    timer = threading.Timer(0.3, folder.mkdir)
    timer.start()
    assert migrate_when_reachable(engine, threading.Event())
    engine.dispose()


def test_a_database_that_refuses_is_not_waited_for(url: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE todos (somebody_elses INTEGER)")
    with pytest.raises(DatabaseError, match="already exists"):
        migrate_when_reachable(engine, threading.Event())
    engine.dispose()


def test_waiting_for_the_database_ends_when_told_to(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    assert not migrate_when_reachable(connect(f"sqlite:///{tmp_path}/never/todo.db"), stop)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_urls_as_people_write_them(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://todo:p%40ss@db:5432/todo")
    settings = Settings()
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://todo:p%40ss@db:5432/todo"
    assert "p%40ss" not in repr(settings)


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKEND_CORS_ORIGINS", "http://localhost:3000/, https://todo.example,")
    assert Settings().backend_cors_origins == ("http://localhost:3000", "https://todo.example")


def test_empty_variables_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COHERE_API_KEY", "BACKEND_CORS_ORIGINS", "DATABASE_URL"):
        monkeypatch.setenv(name, "")
    settings = Settings()
    assert settings.cohere_api_key is None
    assert settings.backend_cors_origins == ()
    assert settings.database_url.get_secret_value() == "sqlite:///todo.db"
