"""The list itself: everything that can be done to todos, for the API and for the chat."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session, sessionmaker

from todo_backend.database import TITLE_MAX, TodoRow
from todo_backend.text import Line

ID_MAX = 2**31 - 1

Title = Annotated[Line, Field(min_length=1, max_length=TITLE_MAX)]


class Todo(BaseModel):
    """A todo as everybody outside of the database sees it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    done: bool
    created_at: datetime


class TodoStore:
    """Each call is its own short transaction: nothing is held open while a model thinks."""

    def __init__(self, engine: Engine) -> None:
        self._sessions = sessionmaker(engine)

    def all(self) -> list[Todo]:
        """Oldest first, so that nothing moves when a todo is added."""
        with self._sessions() as session:
            return [_seen(row) for row in session.scalars(select(TodoRow).order_by(TodoRow.id))]

    def add(self, title: str) -> Todo:
        with self._sessions.begin() as session:
            row = TodoRow(title=title)
            session.add(row)
            session.flush()
            return _seen(row)

    def change(self, todo_id: int, *, title: str | None = None, done: bool | None = None) -> Todo | None:
        """None when there is no such todo. What is not given stays."""
        with self._sessions.begin() as session:
            row = _find(session, todo_id)
            if row is None:
                return None
            if title is not None:
                row.title = title
            if done is not None:
                row.done = done
            return _seen(row)

    def delete(self, todo_id: int) -> Todo | None:
        """The todo that was there, or None."""
        with self._sessions.begin() as session:
            row = _find(session, todo_id)
            if row is None:
                return None
            session.delete(row)
            return _seen(row)

    def delete_done(self) -> int:
        """How many there were."""
        with self._sessions.begin() as session:
            gone = session.scalars(delete(TodoRow).where(TodoRow.done).returning(TodoRow.id))
            return len(gone.all())


def _find(session: Session, todo_id: int) -> TodoRow | None:
    if not 1 <= todo_id <= ID_MAX:
        return None
    return session.get(TodoRow, todo_id, with_for_update=True)


def _seen(row: TodoRow) -> Todo:
    return Todo.model_validate(row)
