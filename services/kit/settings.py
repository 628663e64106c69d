"""Settings: typed, from `XSYS_` environment variables, refusing to start misconfigured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.errors import XsysError

PREFIX = "XSYS_"
SHORTEST_KEY = 32
FEWEST_CHARACTERS = 8  # of different kinds in a key: "aaaa…" is long and known
REDIS = ("redis://", "rediss://")
CLIENT = {"XSYS_SERVER", "XSYS_TOKEN"}  # read by the command line, not by an installation


class Misconfigured(XsysError):
    status = 500
    remedy = "Set what is named; docs/deploy.md has a complete example."


class Settings(BaseSettings):
    """How this installation runs. Every field is an environment variable: `home` is `XSYS_HOME`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    home: Path = Field(default=Path(".xsys"), description="data folder: database, blobs, queue, key")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; default: SQLite in the data folder")
    blob_url: str | None = Field(
        default=None, pattern="^s3://[^/]+", description="s3://BUCKET/PREFIX for artifacts; default: the data folder"
    )
    s3_endpoint: str | None = Field(default=None, description="URL of an S3 server that is not Amazon's")
    blob_cache: int = Field(default=20 << 30, ge=0, description="bytes of objects kept in the data folder")
    broker_url: SecretStr | None = Field(
        default=None, description="redis://… carries jobs' bells, rate limits, live events; default: a folder"
    )
    data_url: str = Field(default="http://127.0.0.1:8101", description="where `xsys serve data` answers")
    model_url: str = Field(default="http://127.0.0.1:8102", description="where `xsys serve model` answers")
    explanation_url: str = Field(default="http://127.0.0.1:8103", description="where `xsys serve explanation` answers")
    xui_url: str = Field(default="http://127.0.0.1:8104", description="where `xsys serve xui` answers")
    deadline: timedelta = Field(default=timedelta(seconds=30), description="for a call from the gateway to a service")
    otlp_endpoint: str | None = Field(
        default=None, pattern="^https?://", description="OpenTelemetry collector (OTLP over HTTP) that traces go to"
    )
    scrape_from: list[IPv4Network | IPv6Network] = Field(
        default=[], description="networks that may read /metrics without a token, besides this machine"
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    token_key: SecretStr | None = Field(default=None, description="HMAC key; default: made once in the data folder")
    import_roots: list[Path] = Field(default=[], description="folders from which REST callers may register pictures")
    threads: int | None = Field(
        default=None, ge=1, description="torch and FAISS threads; default: all cores offline, 1 online"
    )
    batching: bool = Field(
        default=False, description="gather encodes that come together: more throughput, last bits differ under load"
    )
    labeller_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="OpenAI-compatible server that may phrase labels of text",
    )
    labeller_model: str | None = Field(default=None, description="model that it is asked for")
    labeller_key: SecretStr | None = Field(default=None, description="its API key, if it wants one")
    vlm_folder: Path | None = Field(
        default=None, description="transformers image-text-to-text model (safetensors) that may propose labels"
    )
    vlm_url: str | None = Field(
        default=None,
        pattern="^https?://",
        description="or an OpenAI-compatible server that is sent pictures to propose labels",
    )
    vlm_model: str | None = Field(default=None, description="model that this server is asked for")
    vlm_key: SecretStr | None = Field(default=None, description="its API key, if it wants one")
    vlm_timeout: timedelta = Field(default=timedelta(seconds=60), gt=timedelta(0), description="for one answer of it")
    vlm_attempts: int = Field(default=3, ge=1, le=10, description="tries for one answer before the part fails")
    upload_limit: int = Field(default=1 << 30, ge=1, description="bytes of one uploaded archive")
    pixel_limit: int = Field(default=50_000_000, ge=1, description="pixels of one picture, read from its header")

    quota_jobs: int | None = Field(default=None, ge=1, description="unfinished jobs of one workspace at once")
    quota_bytes: int | None = Field(
        default=None, ge=1, description="bytes of one workspace's results, beyond which it begins no job"
    )
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
    def refuse_ambiguous_vision_model(self) -> Self:
        """Which of two models proposed a label must not depend on an order in the code."""
        if self.vlm_folder is not None and self.vlm_url is not None:
            raise ValueError("XSYS_VLM_FOLDER and XSYS_VLM_URL: one of them, not both")
        if self.vlm_timeout * self.vlm_attempts >= self.stall:
            raise ValueError(
                "XSYS_VLM_TIMEOUT times XSYS_VLM_ATTEMPTS: less than XSYS_STALL, or waiting loses the part"
            )
        return self

    @model_validator(mode="after")
    def refuse_unknown_broker(self) -> Self:
        """Only Redis was measured to survive what workers go through."""
        if self.broker_url is not None and not self.broker_url.get_secret_value().startswith(REDIS):
            raise ValueError("XSYS_BROKER_URL: redis://HOST:PORT/NUMBER or rediss://…, or nothing for a folder")
        return self

    @property
    def distributed(self) -> bool:
        """Whether this process is one of several that share a broker."""
        return self.broker_url is not None

    def require_distributed(self) -> None:
        """Refuse to run as one process of several with what only one process alone may have.

        Raises
        ------
        Misconfigured : naming everything that is missing, not only the first.
        """
        key = "" if self.token_key is None else self.token_key.get_secret_value()
        wrong = []
        if self.broker_url is None:
            wrong.append("XSYS_BROKER_URL is not set: redis://HOST:6379/0")
        if self.resolved_database_url.startswith("sqlite"):
            wrong.append("XSYS_DATABASE_URL is not PostgreSQL: SQLite serves one machine only")
        if len(key) < SHORTEST_KEY or len(set(key)) < FEWEST_CHARACTERS:
            wrong.append("XSYS_TOKEN_KEY is missing or can be guessed: `openssl rand -hex 32`, the same everywhere")
        if self.threads is None:
            wrong.append("XSYS_THREADS is not set: it is part of results' keys, hence the same everywhere")
        if wrong:
            raise Misconfigured("; ".join(wrong), field="environment")

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
