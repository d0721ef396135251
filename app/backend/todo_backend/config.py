"""Everything that can be set from outside, read once from the environment."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Each field is an environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True)

    database_url: SecretStr = SecretStr("sqlite:///todo.db")
    """Where the todos live; `postgresql://user:password@host:port/name`, or a SQLite file."""

    cohere_api_key: SecretStr | None = None
    """Set: the chat is led by a Cohere model. Not set: it understands plain commands."""

    cohere_model: str = "command-a-03-2025"
    cohere_url: str = "https://api.cohere.com"

    port: int = 8000

    backend_cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(default=())
    """Origins whose pages may call this API from a browser, separated by commas."""

    @field_validator("backend_cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
        return value

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, value: SecretStr) -> SecretStr:
        """People and cloud consoles write `postgres://`; SQLAlchemy wants the driver's name in it."""
        url = value.get_secret_value()
        for scheme in ("postgres://", "postgresql://"):
            if url.startswith(scheme):
                return SecretStr("postgresql+psycopg://" + url.removeprefix(scheme))
        return value
