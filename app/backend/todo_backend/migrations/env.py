"""Alembic's entry point, for `migrate()` and for the `alembic` command of a developer."""

from alembic import context
from sqlalchemy import Connection

from todo_backend.config import Settings
from todo_backend.database import Base, connect


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    with connect(Settings().database_url.get_secret_value()).connect() as own:
        run(own)
        own.commit()
