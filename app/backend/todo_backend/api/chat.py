"""The chat over HTTP."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from todo_backend.api import Chatter, Store
from todo_backend.chat import Turn
from todo_backend.text import Line
from todo_backend.todos import Todo

router = APIRouter(prefix="/api/chat", tags=["chat"])


class Message(BaseModel):
    message: Annotated[Line, Field(min_length=1, max_length=1000)]
    history: list[Turn] = Field(default=[], max_length=20)


class Reply(BaseModel):
    reply: str
    todos: list[Todo]
    """The list as it is now, so that the page need not ask again."""


@router.post("")
def chat(message: Message, assistant: Chatter, store: Store) -> Reply:
    return Reply(reply=assistant.answer(message.message, message.history), todos=store.all())
