"""The connection to the database and the shape of what is stored in it."""

from datetime import UTC, datetime

from sqlalchemy import DateTime, Dialect, Engine, String, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

TITLE_MAX = 200


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time. SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value


class Base(DeclarativeBase):
    """The tables; `migrations/` brings a database to them."""


class TodoRow(Base):
    __tablename__ = "todos"
    # Without it SQLite hands the number of a deleted todo to the next one, and "done 2" means another todo.
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_MAX))
    done: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=lambda: datetime.now(UTC))


def connect(url: str) -> Engine:
    """An engine that gives up on an unreachable server within seconds, so that `/ready` can say so."""
    if make_url(url).get_backend_name() == "sqlite":
        return create_engine(url)
    return create_engine(
        url,
        # Nine replicas fit into the hundred connections that a server has by default.
        pool_size=5,
        max_overflow=5,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 3, "application_name": "todo-backend"},
    )
