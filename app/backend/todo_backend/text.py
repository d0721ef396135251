"""Text from outside, made fit for storing and sending on."""

from typing import Annotated

from pydantic import AfterValidator


def storable(text: str) -> str:
    """PostgreSQL refuses NUL, and half a surrogate pair, which JSON can carry, is not UTF-8."""
    return text.replace("\x00", " ").encode("utf-8", "replace").decode("utf-8")


def one_line(text: str) -> str:
    """Line breaks and runs of blanks become one blank, and none stays at the ends."""
    return " ".join(storable(text).split())


Line = Annotated[str, AfterValidator(one_line)]
Prose = Annotated[str, AfterValidator(storable)]
