"""The assistant that needs no model: it carries out plain commands and says what it did."""

from collections.abc import Callable

from pydantic import TypeAdapter, ValidationError

from todo_backend.chat import Turn
from todo_backend.chat.commands import (
    Add,
    ClearDone,
    Complete,
    Delete,
    Help,
    Reopen,
    ShowDone,
    ShowOpen,
    Unknown,
    numbers,
    parse,
)
from todo_backend.database import TITLE_MAX
from todo_backend.todos import Title, Todo, TodoStore

HELP = """\
You can say:
• add milk
• done 2, or done milk
• undo 2
• delete 2
• what is left, what is done
• clear done"""

_TITLE: TypeAdapter[str] = TypeAdapter(Title)


class PlainAssistant:
    def __init__(self, store: TodoStore) -> None:
        self._store = store

    def answer(self, message: str, history: list[Turn]) -> str:
        match parse(message):
            case Add(title):
                return self._add(title)
            case Complete(which):
                return self._each(which, "Done", lambda todo: self._store.change(todo.id, done=True))
            case Reopen(which):
                return self._each(which, "Open again", lambda todo: self._store.change(todo.id, done=False))
            case Delete(which):
                return self._each(which, "Deleted", lambda todo: self._store.delete(todo.id))
            case ClearDone():
                count = self._store.delete_done()
                return f"Deleted {_count(count)} that {_was(count)} done." if count else "Nothing was done yet."
            case ShowOpen():
                return self._show(done=False)
            case ShowDone():
                return self._show(done=True)
            case Help():
                return HELP
            case Unknown():
                return f"I did not understand that. {HELP}"

    def _add(self, title: str) -> str:
        try:
            return f"Added {_named(self._store.add(_TITLE.validate_python(title)))}."
        except ValidationError:
            return f"A todo needs a text of at most {TITLE_MAX} characters."

    def _each(self, which: str, verb: str, act: Callable[[Todo], Todo | None]) -> str:
        """Acts on every todo that is meant; one that somebody else has just deleted counts as not found."""
        found, problem = self._find(which)
        acted = [todo for todo in map(act, found) if todo is not None]
        said = f"{verb}: {', '.join(map(_named, acted))}." if acted else ""
        return " ".join(filter(None, (said, problem))) or f"I find no todo like “{which}”."

    def _find(self, which: str) -> tuple[list[Todo], str]:
        todos = self._store.all()
        if wanted := numbers(which):
            by_number = {todo.id: todo for todo in todos}
            missing = ", ".join(f"#{number}" for number in wanted if number not in by_number)
            found = [by_number[number] for number in wanted if number in by_number]
            return found, f"There is no {missing}." if missing else ""
        text = which.casefold()
        found = [todo for todo in todos if todo.title.casefold() == text]
        found = found or [todo for todo in todos if text in todo.title.casefold()]
        if len(found) > 1:
            return [], f"Which one do you mean: {', '.join(map(_named, found))}?"
        return found, ""

    def _show(self, *, done: bool) -> str:
        todos = [todo for todo in self._store.all() if todo.done == done]
        if not todos:
            return "Nothing is done yet." if done else "Nothing is left. Enjoy the day!"
        opening = f"{_count(len(todos))} {_was(len(todos), now=True)} {'done' if done else 'left'}:"
        return "\n".join([opening, *(f"• {_named(todo)}" for todo in todos)])


def _named(todo: Todo) -> str:
    return f"#{todo.id} {todo.title}"


def _count(count: int) -> str:
    return f"{count} todo" if count == 1 else f"{count} todos"


def _was(count: int, *, now: bool = False) -> str:
    if now:
        return "is" if count == 1 else "are"
    return "was" if count == 1 else "were"
