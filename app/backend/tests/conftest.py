from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from todo_backend.app import create_app
from todo_backend.chat.plain import PlainAssistant
from todo_backend.config import Settings
from todo_backend.database import connect
from todo_backend.migrate import migrate
from todo_backend.todos import TodoStore


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/todo.db"


@pytest.fixture
def store(url: str) -> Iterator[TodoStore]:
    engine = connect(url)
    migrate(engine)
    yield TodoStore(engine)
    engine.dispose()


@pytest.fixture
def plain(store: TodoStore) -> PlainAssistant:
    return PlainAssistant(store)


@pytest.fixture
def client(url: str) -> Iterator[TestClient]:
    """A running app whose database is migrated."""
    app = create_app(Settings(database_url=SecretStr(url), cohere_api_key=None))
    with TestClient(app) as running:
        assert app.state.migrated.wait(timeout=10)
        yield running
