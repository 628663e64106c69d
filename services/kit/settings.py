"""Settings: typed, from `XSYS_` environment variables, refusing to start misconfigured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "XSYS_"
REDIS = ("redis://", "rediss://")
CLIENT = {"XSYS_SERVER", "XSYS_TOKEN"}  # read by the command line, not by an installation


class Settings(BaseSettings):
    """How this installation runs. Every field is an environment variable: `home` is `XSYS_HOME`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    home: Path = Field(default=Path(".xsys"), description="data folder: database, blobs, queue, key")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in the data folder")
    broker_url: SecretStr | None = Field(
        default=None, description="redis://… carries jobs' bells, rate limits, live events; default: a folder"
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    token_key: SecretStr | None = Field(default=None, description="HMAC key; default: made once in the data folder")
    import_roots: list[Path] = Field(default=[], description="folders from which REST callers may register pictures")
    threads: int | None = Field(
        default=None, ge=1, description="torch and FAISS threads; default: all cores offline, 1 online"
    )
    upload_limit: int = Field(default=1 << 30, ge=1, description="bytes of one uploaded archive")
    pixel_limit: int = Field(default=50_000_000, ge=1, description="pixels of one picture, read from its header")

    heartbeat: timedelta = timedelta(seconds=10)
    lease: timedelta = timedelta(seconds=60)
    stall: timedelta = Field(
        default=timedelta(minutes=5), description="a part without progress for so long loses its lease"
    )
    attempts: int = Field(default=3, ge=1)
    reaper_period: timedelta = timedelta(seconds=10)
    part_limit: timedelta = Field(default=timedelta(minutes=10), description="longest time that one part may take")
    visibility: timedelta = Field(
        default=timedelta(minutes=30), description="after so long Redis takes an unread message for lost"
    )
    worker_restarts: int = Field(default=5, ge=0, description="restarts of the worker child in five minutes")
    failpoint: str | None = Field(
        default=None, description="fault tests only: NAME:ACTION, such as publish.before_rename:kill"
    )

    @model_validator(mode="after")
    def refuse_unsafe_timing(self) -> Self:
        """A lease shorter than three heartbeats is lost by one slow write."""
        if self.lease < 3 * self.heartbeat:
            raise ValueError("XSYS_LEASE: at least three times XSYS_HEARTBEAT, or one slow write loses a live part")
        if self.visibility <= self.part_limit:
            raise ValueError("XSYS_VISIBILITY: more than XSYS_PART_LIMIT, or Redis hands out what is being worked on")
        return self

    @model_validator(mode="after")
    def refuse_unknown_broker(self) -> Self:
        """Only Redis was measured to survive what workers go through."""
        if self.broker_url is not None and not self.broker_url.get_secret_value().startswith(REDIS):
            raise ValueError("XSYS_BROKER_URL: redis://HOST:PORT/NUMBER or rediss://…, or nothing for a folder")
        return self

    @property
    def resolved_database_url(self) -> str:
        """The database in use."""
        url = self.database_url or f"sqlite:///{(self.home / 'xsys.sqlite').absolute()}"
        for scheme in ("postgresql://", "postgres://"):
            if url.startswith(scheme):  # as providers write it; the driver is ours to choose
                return "postgresql+psycopg://" + url.removeprefix(scheme)
        return url

    @property
    def blob_folder(self) -> Path:
        """Where the bytes of artifacts lie."""
        return self.home.absolute() / "blobs"

    @property
    def queue_folder(self) -> Path:
        """Where the filesystem transport keeps its messages."""
        return self.home.absolute() / "queue"


def load_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings and refuse variables that do not exist: a typo is the commonest misconfiguration."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known | CLIENT)
    if unknown:
        raise ValueError(f"unknown settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return Settings()
