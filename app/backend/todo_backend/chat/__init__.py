"""The chat: a sentence comes in, todos change, a sentence goes out."""

from typing import Literal, Protocol

from pydantic import BaseModel, Field

from todo_backend.text import Prose


class Turn(BaseModel):
    """One earlier message. The page keeps the conversation, so any replica can answer the next one."""

    role: Literal["user", "assistant"]
    text: Prose = Field(max_length=4000)


class Assistant(Protocol):
    """Whoever answers."""

    def answer(self, message: str, history: list[Turn]) -> str: ...
