"""Goes the way of a visitor: the page, then a todo there and back, through the frontend into the database."""

import json
import sys
import urllib.request
import uuid

base, api = sys.argv[1], sys.argv[2]


def call(method: str, url: str, body: object = None) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


page = call("GET", base).decode()
assert "<html" in page, "the frontend did not send a page"
print("the page is there")

title = f"helm test {uuid.uuid4()}"
todo = json.loads(call("POST", f"{api}/todos", {"title": title}))
try:
    assert todo in json.loads(call("GET", f"{api}/todos")), "the new todo is not in the list"
    print(f"todo #{todo['id']} was stored")
finally:
    call("DELETE", f"{api}/todos/{todo['id']}")
assert todo not in json.loads(call("GET", f"{api}/todos")), "the deleted todo is still in the list"
print("and is gone again")
