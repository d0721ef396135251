"""The list over HTTP."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel

from todo_backend.api import Store
from todo_backend.todos import ID_MAX, Title, Todo

router = APIRouter(prefix="/api/todos", tags=["todos"])

TodoId = Annotated[int, Path(ge=1, le=ID_MAX)]
NOT_FOUND: dict[int | str, dict[str, object]] = {404: {"description": "There is no such todo"}}


class NewTodo(BaseModel):
    title: Title


class Change(BaseModel):
    """What is left out stays as it is."""

    title: Title | None = None
    done: bool | None = None


@router.get("")
def list_todos(store: Store) -> list[Todo]:
    return store.all()


@router.post("", status_code=201)
def create_todo(new: NewTodo, store: Store) -> Todo:
    return store.add(new.title)


@router.patch("/{todo_id}", responses=NOT_FOUND)
def change_todo(todo_id: TodoId, change: Change, store: Store) -> Todo:
    return _found(store.change(todo_id, title=change.title, done=change.done), todo_id)


@router.delete("/{todo_id}", status_code=204, responses=NOT_FOUND)
def delete_todo(todo_id: TodoId, store: Store) -> None:
    _found(store.delete(todo_id), todo_id)


def _found(todo: Todo | None, todo_id: int) -> Todo:
    if todo is None:
        raise HTTPException(404, f"there is no todo #{todo_id}")
    return todo
