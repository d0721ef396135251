"""Conversations with the assistant that needs no model."""

from todo_backend.chat.plain import PlainAssistant
from todo_backend.todos import TodoStore


def test_a_day(plain: PlainAssistant) -> None:
    said = [
        ("what is left", "Nothing is left. Enjoy the day!"),
        ("add milk", "Added #1 milk."),
        ("add bread", "Added #2 bread."),
        ("done 2", "Done: #2 bread."),
        ("what is left", "1 todo is left:\n• #1 milk"),
        ("undo bread", "Open again: #2 bread."),
        ("done 1 and 2", "Done: #1 milk, #2 bread."),
        ("what is done", "2 todos are done:\n• #1 milk\n• #2 bread"),
        ("delete 1", "Deleted: #1 milk."),
        ("clear done", "Deleted 1 todo that was done."),
        ("clear done", "Nothing was done yet."),
    ]
    for message, answer in said:
        assert plain.answer(message, []) == answer


def test_it_says_what_it_cannot_find(plain: PlainAssistant, store: TodoStore) -> None:
    store.add("milk")
    assert plain.answer("done 1, 7", []) == "Done: #1 milk. There is no #7."
    assert plain.answer("delete cheese", []) == "I find no todo like “cheese”."


def test_it_asks_when_a_name_fits_several(plain: PlainAssistant, store: TodoStore) -> None:
    store.add("oat milk")
    store.add("soy milk")
    assert plain.answer("delete milk", []) == "Which one do you mean: #1 oat milk, #2 soy milk?"
    store.add("milk")
    assert plain.answer("delete milk", []) == "Deleted: #3 milk."


def test_it_refuses_what_the_list_cannot_hold(plain: PlainAssistant, store: TodoStore) -> None:
    assert "at most 200" in plain.answer("add " + "x" * 201, [])
    assert store.all() == []


def test_it_helps(plain: PlainAssistant) -> None:
    assert plain.answer("help", []).startswith("You can say:")
    assert plain.answer("open the pod bay doors", []).startswith("I did not understand that.")
