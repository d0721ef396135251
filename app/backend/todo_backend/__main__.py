"""`python -m todo_backend`: serves the app until it is told to stop."""

import logging

import uvicorn

from todo_backend.app import create_app
from todo_backend.config import Settings

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class NotAProbe(logging.Filter):
    """The cluster asks every second; only the answers that are bad news are worth a line."""

    def filter(self, record: logging.LogRecord) -> bool:
        match record.args:
            case (_, _, str(path), _, 200) if path in ("/health", "/ready"):
                return False
        return True


def main() -> None:
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    for noisy in ("alembic", "httpx2"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(NotAProbe())
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host="0.0.0.0",  # noqa: S104 - in a container this is the only address there is to listen on
        port=settings.port,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
