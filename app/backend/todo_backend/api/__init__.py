"""The HTTP surface, one file for each subject."""

from typing import Annotated

from fastapi import Depends, Request

from todo_backend.chat import Assistant
from todo_backend.todos import TodoStore


def _store(request: Request) -> TodoStore:
    store: TodoStore = request.app.state.store
    return store


def _assistant(request: Request) -> Assistant:
    assistant: Assistant = request.app.state.assistant
    return assistant


Store = Annotated[TodoStore, Depends(_store)]
Chatter = Annotated[Assistant, Depends(_assistant)]
