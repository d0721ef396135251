"""What a plain sentence asks for. Pure: it knows words, not todos."""

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Add:
    title: str


@dataclass(frozen=True)
class Complete:
    which: str


@dataclass(frozen=True)
class Reopen:
    which: str


@dataclass(frozen=True)
class Delete:
    which: str


@dataclass(frozen=True)
class ClearDone:
    pass


@dataclass(frozen=True)
class ShowOpen:
    pass


@dataclass(frozen=True)
class ShowDone:
    pass


@dataclass(frozen=True)
class Help:
    pass


@dataclass(frozen=True)
class Unknown:
    pass


Command = Add | Complete | Reopen | Delete | ClearDone | ShowOpen | ShowDone | Help | Unknown

_DONE = r"(?:done|completed?|finished)"
_TODOS = r"(?:to-?dos?|tasks?|items?|ones)"

# Sentences that say everything by themselves. In both tables the first match counts.
_WHOLE: tuple[tuple[str, Command], ...] = (
    (r"help|hello|hi|hey|\?+|what\s+can\s+(?:you|i)\s+(?:do|say)", Help()),
    (rf"(?:clear|delete|remove)\s+(?:all\s+)?(?:the\s+)?{_DONE}(?:\s+{_TODOS})?", ClearDone()),
    (rf"(?:what(?:'s|\s+is|\s+have\s+i)?|show(?:\s+me)?|list)\s+{_DONE}(?:\s+{_TODOS})?", ShowDone()),
    (r"what(?:'s|\s+is|\s+are)?\s+(?:left|open|next|to\s*do|on\s+(?:my|the)\s+list)", ShowOpen()),
    (r"what\s+do\s+i\s+(?:still\s+)?have(?:\s+left)?(?:\s+to\s+do)?", ShowOpen()),
    (rf"(?:show|list)(?:\s+(?:me|my|the|all|open|list|everything|{_TODOS}))*|{_TODOS}", ShowOpen()),
)

# Sentences that go on with a title or with numbers.
_NAMED = rf"(?:(?:the\s+)?(?:{_TODOS}|number)\s+)?(?P<rest>.+?)"
_WITH_REST: tuple[tuple[str, Callable[[str], Command]], ...] = (
    (
        r"(?:add|create|new|remind\s+me\s+to|i\s+(?:need|have)\s+to)\s+"
        r"(?:(?:a\s+)?(?:new\s+)?(?:to-?do|task|item):?\s+)?(?P<rest>.+?)(?:\s+(?:to|on)\s+(?:my|the)\s+list)?",
        Add,
    ),
    (rf"(?:undo|reopen|uncheck|not\s+done)\s+{_NAMED}", Reopen),
    (rf"(?:delete|remove|drop|forget)\s+{_NAMED}", Delete),
    (rf"(?:done|did|complete|finish|check|tick)(?:\s+(?:off|with))?\s+{_NAMED}", Complete),
    (rf"mark\s+{_NAMED}\s+(?:as\s+)?{_DONE}", Complete),
    (rf"{_NAMED}\s+is\s+{_DONE}", Complete),
)


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:please\s+)?(?:{pattern})", re.IGNORECASE)


_WHOLE_COMPILED = tuple((_compile(pattern), command) for pattern, command in _WHOLE)
_WITH_REST_COMPILED = tuple((_compile(pattern), make) for pattern, make in _WITH_REST)


def parse(message: str) -> Command:
    """Reads one sentence; blanks, case and closing punctuation do not matter."""
    sentence = " ".join(message.split()).replace("’", "'")
    sentence = sentence.rstrip(" .!?") or sentence
    for pattern, command in _WHOLE_COMPILED:
        if pattern.fullmatch(sentence):
            return command
    for pattern, make in _WITH_REST_COMPILED:
        if match := pattern.fullmatch(sentence):
            return make(_unquoted(match["rest"]))
    return Unknown()


def numbers(which: str) -> list[int]:
    """`2`, `#2`, `2, 3 and 5`: the todos meant by number. Empty when it is a title."""
    parts = [part for part in re.split(r",|\band\b|\s", which.lower()) if part]
    found = [re.fullmatch(r"#?(\d{1,9})", part) for part in parts]
    return list(dict.fromkeys(int(match[1]) for match in found if match)) if all(found) else []


def _unquoted(text: str) -> str:
    return re.sub(r"""^["'“‘](.+)["'”’]$""", r"\1", text)
