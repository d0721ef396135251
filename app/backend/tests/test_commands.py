"""Sentences as people type them, and what they ask for."""

import pytest

from todo_backend.chat.commands import (
    Add,
    ClearDone,
    Command,
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


@pytest.mark.parametrize(
    ("sentence", "command"),
    [
        ("add milk", Add("milk")),
        ("  Add   Milk. ", Add("Milk")),
        ("please add milk to my list", Add("milk")),
        ("add a task: call the bank", Add("call the bank")),
        ("add “walk the dog”", Add("walk the dog")),
        ("Remind me to water the plants!", Add("water the plants")),
        ("I need to sleep", Add("sleep")),
        ("add done deal", Add("done deal")),
        ("done 2", Complete("2")),
        ("done with 2", Complete("2")),
        ("finish task #2", Complete("#2")),
        ("check off 2 and 3", Complete("2 and 3")),
        ("mark 2 as done", Complete("2")),
        ("milk is done", Complete("milk")),
        ("undo 2", Reopen("2")),
        ("not done 2", Reopen("2")),
        ("delete the todo milk", Delete("milk")),
        ("remove 3", Delete("3")),
        ("clear done", ClearDone()),
        ("delete all completed tasks", ClearDone()),
        ("what is left", ShowOpen()),
        ("What's left?", ShowOpen()),
        ("what’s left", ShowOpen()),
        ("what is on my list?", ShowOpen()),
        ("what do I have to do?", ShowOpen()),
        ("show me all my todos", ShowOpen()),
        ("list", ShowOpen()),
        ("what is done?", ShowDone()),
        ("show done", ShowDone()),
        ("help", Help()),
        ("?", Help()),
        ("Hello!", Help()),
        ("add", Unknown()),
        ("the weather is nice", Unknown()),
        ("...", Unknown()),
    ],
)
def test_parse(sentence: str, command: Command) -> None:
    assert parse(sentence) == command


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("2", [2]),
        ("#2", [2]),
        ("2, 3 and 5", [2, 3, 5]),
        ("2 2", [2]),
        ("milk", []),
        ("2 litres of milk", []),
        ("12345678901234567890", []),
    ],
)
def test_numbers(which: str, expected: list[int]) -> None:
    assert numbers(which) == expected
