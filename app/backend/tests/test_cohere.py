"""The model's side of the conversation is played by a script."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from todo_backend.chat import Turn
from todo_backend.chat.cohere import ROUNDS, CohereAssistant
from todo_backend.chat.plain import PlainAssistant
from todo_backend.todos import TodoStore


def says(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": [{"type": "text", "text": text}]}}


def uses(name: str, **arguments: object) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    calls = [{"id": "call-1", "type": "function", "function": function}]
    return {"message": {"role": "assistant", "tool_plan": "I will act.", "tool_calls": calls}}


class Model:
    def __init__(self) -> None:
        self.script: list[dict[str, Any] | int] = []
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("POST", "/v2/chat")
        self.asked.append(json.loads(request.content))
        next_line = self.script.pop(0)
        return httpx2.Response(next_line) if isinstance(next_line, int) else httpx2.Response(200, json=next_line)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def assistant(model: Model, store: TodoStore, plain: PlainAssistant) -> Iterator[CohereAssistant]:
    with httpx2.Client(base_url="https://model.example", transport=httpx2.MockTransport(model)) as client:
        yield CohereAssistant(client, "some-model", store, fallback=plain)


def test_the_model_acts_through_tools(assistant: CohereAssistant, model: Model, store: TodoStore) -> None:
    model.script = [uses("add_todo", title="milk"), uses("set_done", id=1, done=True), says("Done and dusted.")]
    history = [Turn(role="user", text="hi"), Turn(role="assistant", text="Hello.")]
    assert assistant.answer("I bought milk", history) == "Done and dusted."
    assert [(todo.title, todo.done) for todo in store.all()] == [("milk", True)]

    first, second, _ = model.asked
    assert [turn["role"] for turn in first["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][-2]["tool_calls"][0]["id"] == second["messages"][-1]["tool_call_id"] == "call-1"
    assert json.loads(second["messages"][-1]["content"])["title"] == "milk"


@pytest.mark.parametrize(
    "mistake",
    [
        uses("add_todo", title=" "),
        uses("add_todo"),
        uses("set_done", id=99, done=True),
        uses("set_done", id="first", done=True),
        uses("delete_todo", id=10**30),
        uses("order_pizza"),
    ],
)
def test_a_mistake_goes_back_to_the_model(
    assistant: CohereAssistant, model: Model, store: TodoStore, mistake: dict[str, Any]
) -> None:
    model.script = [mistake, says("Sorry.")]
    assert assistant.answer("do it", []) == "Sorry."
    assert "error" in json.loads(model.asked[1]["messages"][-1]["content"])
    assert store.all() == []


@pytest.mark.parametrize("trouble", [401, 500, {"unexpected": "shape"}, {"message": {"content": []}}])
def test_without_the_model_plain_commands_still_work(
    assistant: CohereAssistant, model: Model, trouble: dict[str, Any] | int
) -> None:
    model.script = [trouble]
    assert assistant.answer("add milk", []) == "Added #1 milk."


def test_a_command_is_not_carried_out_twice(assistant: CohereAssistant, model: Model, store: TodoStore) -> None:
    model.script = [uses("add_todo", title="milk"), 500]
    assert "half-way" in assistant.answer("add milk", [])
    assert [todo.title for todo in store.all()] == ["milk"]


def test_a_model_that_never_answers_is_stopped(assistant: CohereAssistant, model: Model) -> None:
    model.script = [uses("list_todos")] * ROUNDS
    assert "could not finish" in assistant.answer("loop", [])
