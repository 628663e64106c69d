"""The Celery app and its settings. It has one task, which runs the part whose id it is given."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from celery import Celery

from services.kit.settings import Settings

TASK = "xsys.run_part"
POLL_SECONDS = 0.05
SOCKET_SECONDS = 2.0
PREFIX = "xsys."
FOLDER_QUEUE = "parts"
SOFT_SHUTDOWN_SECONDS = 30.0
KEPT_SECONDS = 60.0


def celery_app(settings: Settings) -> Celery:
    """Return the app on this installation's broker: Redis, or a folder."""
    broker = settings.broker_url
    timing = (settings.visibility.total_seconds(), settings.part_limit.total_seconds())
    return _app(None if broker is None else broker.get_secret_value(), settings.queue_folder, *timing)


def queue_of(settings: Settings, resource: str) -> str:
    """Name the queue for a resource. A folder has a single queue: its one worker takes everything."""
    return FOLDER_QUEUE if settings.broker_url is None else f"{PREFIX}{resource}"


@cache
def _app(broker: str | None, folder: Path, visibility: float, part_limit: float) -> Celery:
    app = Celery("xsys", broker=broker or "filesystem://")
    app.conf.update(
        broker_transport_options=_folder_options(folder) if broker is None else _redis_options(visibility),
        visibility_timeout=visibility,  # the shortest among all apps on a broker wins, hence everywhere
        task_default_queue=FOLDER_QUEUE,
        task_create_missing_queues=True,
        task_acks_late=False,  # re-delivery is the reaper's work, by lease: brokers do it too late or twice
        task_reject_on_worker_lost=False,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1, "interval_max": 0.2},
        worker_prefetch_multiplier=1,
        task_time_limit=int(part_limit),
        task_soft_time_limit=int(0.9 * part_limit),
        worker_pool="solo",
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,
        task_track_started=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_SECONDS,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_deduplicate_successful_tasks=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
    )
    return app


def _folder_options(folder: Path) -> dict[str, object]:
    messages, processed = folder / "messages", folder / "processed"
    for place in (messages, processed, folder / "control"):
        place.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(messages),
        "data_folder_out": str(messages),
        "processed_folder": str(processed),  # on the same file system: a move across two is a copy, taken twice
        "store_processed": True,
        "control_folder": str(folder / "control"),
        "polling_interval": POLL_SECONDS,
    }


def _redis_options(visibility: float) -> dict[str, object]:
    return {
        "visibility_timeout": visibility,
        "global_keyprefix": PREFIX,
        "socket_connect_timeout": SOCKET_SECONDS,
        "socket_timeout": 10 * SOCKET_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }


def forget_processed(settings: Settings) -> None:
    """Remove messages that were taken a while ago: the rows say what became of their parts."""
    if settings.broker_url is not None:
        return
    limit = time.time() - KEPT_SECONDS  # a worker reads a message after it has moved it here
    for message in (settings.queue_folder / "processed").glob("*.msg"):
        try:
            if message.stat().st_mtime < limit:
                message.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # swept by somebody else
