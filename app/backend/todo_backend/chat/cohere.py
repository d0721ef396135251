"""The assistant led by a Cohere model: the model decides, and acts on the todos through tools."""

import json
import logging
from typing import Any

import httpx2
from pydantic import TypeAdapter, ValidationError

from todo_backend.chat import Assistant, Turn
from todo_backend.todos import Title, TodoStore

log = logging.getLogger(__name__)

ROUNDS = 6
"""How often the model may use tools before it has to have answered."""

INSTRUCTIONS = (
    "You keep the user's todo list with the tools that you have. Look at the list before you speak about it. "
    "Todos are named by number, as #2. Do only what was asked. Answer in one or two short, friendly sentences, "
    "in the user's language, without Markdown."
)

_TITLE: TypeAdapter[str] = TypeAdapter(Title)


class CohereAssistant:
    """When the model cannot be reached, `fallback` answers: a todo list must not depend on somebody's cloud."""

    def __init__(self, client: httpx2.Client, model: str, store: TodoStore, fallback: Assistant) -> None:
        self._client = client
        self._model = model
        self._store = store
        self._fallback = fallback

    def answer(self, message: str, history: list[Turn]) -> str:
        messages: list[dict[str, Any]] = [{"role": "system", "content": INSTRUCTIONS}]
        messages += [{"role": turn.role, "content": turn.text} for turn in history]
        messages.append({"role": "user", "content": message})
        acted = False
        try:
            for _ in range(ROUNDS):
                reply = self._ask(messages)
                calls = reply.get("tool_calls") or []
                if not calls:
                    return _text(reply)
                messages.append({key: reply[key] for key in ("role", "tool_calls", "tool_plan") if key in reply})
                for call in calls:
                    acted = True
                    result = self._use(call["function"]["name"], call["function"].get("arguments") or "{}")
                    messages.append(
                        {
                            "role": "tool",
                            "tool_call_id": call["id"],
                            "content": json.dumps(result, default=str),
                        }
                    )
            return "I could not finish that. Please look at the list and say what is missing."
        except (httpx2.HTTPError, KeyError, TypeError, ValueError) as error:
            log.warning("the model did not answer: %s", _reason(error))
            if acted:
                return "The model stopped answering half-way. Please check the list."
            return self._fallback.answer(message, history)

    def _ask(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        response = self._client.post(
            "/v2/chat", json={"model": self._model, "messages": messages, "tools": TOOLS, "temperature": 0.2}
        )
        response.raise_for_status()
        message: dict[str, Any] = response.json()["message"]
        return message

    def _use(self, name: str, arguments: str) -> object:
        """A mistake of the model goes back to it as the tool's result, so that it can do better."""
        try:
            given = json.loads(arguments)
            match name:
                case "list_todos":
                    return [todo.model_dump(mode="json") for todo in self._store.all()]
                case "add_todo":
                    return self._store.add(_TITLE.validate_python(given["title"])).model_dump(mode="json")
                case "set_done":
                    changed = self._store.change(int(given["id"]), done=bool(given["done"]))
                    return changed.model_dump(mode="json") if changed else {"error": "no such todo"}
                case "delete_todo":
                    gone = self._store.delete(int(given["id"]))
                    return {"deleted": gone.id} if gone else {"error": "no such todo"}
                case _:
                    return {"error": f"no tool {name}"}
        except (KeyError, TypeError, ValueError, ValidationError) as error:
            return {"error": str(error)}


def cohere_client(url: str, api_key: str) -> httpx2.Client:
    return httpx2.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=httpx2.Timeout(20.0, connect=3.0),
    )


def _text(reply: dict[str, Any]) -> str:
    parts = [part["text"] for part in reply.get("content") or [] if part.get("type") == "text"]
    text = "".join(parts).strip()
    if not text:
        raise ValueError("the model sent an empty answer")
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, httpx2.HTTPStatusError):
        return f"{error.response.status_code} from {error.request.url.host}"
    return f"{type(error).__name__}: {error}"


def _tool(name: str, description: str, **properties: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": list(properties)},
        },
    }


_ID = {"type": "integer", "description": "the todo's number"}

TOOLS = [
    _tool("list_todos", "All todos with their numbers, titles and whether they are done."),
    _tool("add_todo", "Adds a todo.", title={"type": "string", "description": "what is to be done"}),
    _tool("set_done", "Marks a todo as done, or as open again.", id=_ID, done={"type": "boolean"}),
    _tool("delete_todo", "Deletes a todo for good.", id=_ID),
]
