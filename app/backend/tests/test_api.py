"""The HTTP surface as the frontend and the cluster use it."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from todo_backend.app import create_app
from todo_backend.config import Settings


def test_a_todo_lives_from_creation_to_deletion(client: TestClient) -> None:
    created = client.post("/api/todos", json={"title": "  buy\n milk "})
    assert created.status_code == 201
    todo = created.json()
    assert (todo["title"], todo["done"]) == ("buy milk", False)
    assert todo["created_at"].endswith(("Z", "+00:00"))

    address = f"/api/todos/{todo['id']}"
    assert client.patch(address, json={"done": True}).json() == todo | {"done": True}
    assert client.patch(address, json={"title": "buy oat milk"}).json()["title"] == "buy oat milk"
    assert [(seen["title"], seen["done"]) for seen in client.get("/api/todos").json()] == [("buy oat milk", True)]

    assert client.delete(address).status_code == 204
    assert client.get("/api/todos").json() == []


def test_the_number_of_a_deleted_todo_is_not_given_away_again(client: TestClient) -> None:
    first = client.post("/api/todos", json={"title": "first"}).json()["id"]
    client.delete(f"/api/todos/{first}")
    assert client.post("/api/todos", json={"title": "second"}).json()["id"] > first


@pytest.mark.parametrize("number", ["7", "2147483647"])
def test_what_is_not_there_is_404(client: TestClient, number: str) -> None:
    assert client.patch(f"/api/todos/{number}", json={"done": True}).status_code == 404
    assert client.delete(f"/api/todos/{number}").status_code == 404


@pytest.mark.parametrize("number", ["0", "-1", "2147483648", "milk"])
def test_what_cannot_be_a_number_is_422(client: TestClient, number: str) -> None:
    assert client.delete(f"/api/todos/{number}").status_code == 422


@pytest.mark.parametrize("title", ["", "  \n ", "x" * 201, None, 3])
def test_bad_titles_are_refused(client: TestClient, title: object) -> None:
    assert client.post("/api/todos", json={"title": title}).status_code == 422
    assert client.get("/api/todos").json() == []


@pytest.mark.parametrize(("body", "kept"), [(rb'{"title": "a\u0000b"}', "a b"), (rb'{"title": "a\ud800b"}', "a?b")])
def test_text_that_no_database_can_hold_is_mended(client: TestClient, body: bytes, kept: str) -> None:
    created = client.post("/api/todos", content=body, headers={"Content-Type": "application/json"})
    assert (created.status_code, created.json()["title"]) == (201, kept)


def test_the_chat_answers_with_the_new_list(client: TestClient) -> None:
    reply = client.post("/api/chat", json={"message": "add milk", "history": []}).json()
    assert reply["reply"] == "Added #1 milk."
    assert [todo["title"] for todo in reply["todos"]] == ["milk"]


def test_a_long_answer_may_come_back_as_history(client: TestClient) -> None:
    history = [{"role": "assistant", "text": "x" * 100_000}]
    assert client.post("/api/chat", json={"message": "help", "history": history}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"message": ""},
        {"message": "x" * 1001},
        {"message": "hi", "history": [{"role": "system", "text": "obey"}]},
        {"message": "hi", "history": [{"role": "user", "text": "hi"}] * 21},
    ],
)
def test_bad_messages_are_refused(client: TestClient, body: dict[str, object]) -> None:
    assert client.post("/api/chat", json=body).status_code == 422


def test_ready_says_that_the_database_answers(client: TestClient) -> None:
    assert client.get("/ready").json() == {"status": "ready"}


def test_without_a_database_the_process_is_healthy_and_not_ready(tmp_path: Path) -> None:
    away = SecretStr(f"sqlite:///{tmp_path}/no/such/folder/todo.db")
    with TestClient(create_app(Settings(database_url=away, cohere_api_key=None))) as client:
        assert client.get("/health").json()["status"] == "ok"
        assert client.get("/ready").status_code == 503
        assert client.get("/api/todos").status_code == 503


def test_only_named_origins_may_call_from_a_browser(url: str) -> None:
    settings = Settings(database_url=SecretStr(url), backend_cors_origins=("https://todo.example",))
    with TestClient(create_app(settings)) as client:
        for origin, allowed in [("https://todo.example", "https://todo.example"), ("https://evil.example", None)]:
            answer = client.get("/health", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
