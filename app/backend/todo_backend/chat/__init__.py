"""The chat: a sentence comes in, todos change, a sentence goes out."""

from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, BaseModel

from todo_backend.text import Prose

TURN_MAX = 4000


def _cut(text: str) -> str:
    """An answer that listed many todos comes back as history: too long to keep is no reason to refuse."""
    return text if len(text) <= TURN_MAX else text[: TURN_MAX - 1] + "…"


class Turn(BaseModel):
    """One earlier message. The page keeps the conversation, so any replica can answer the next one."""

    role: Literal["user", "assistant"]
    text: Annotated[Prose, AfterValidator(_cut)]


class Assistant(Protocol):
    """Whoever answers."""

    def answer(self, message: str, history: list[Turn]) -> str: ...
