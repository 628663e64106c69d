"""The Celery app and its settings. It has one task, which runs the part whose id it is given."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from celery import Celery

from services.kit.settings import Settings

TASK = "xsys.run_part"
POLL_SECONDS = 0.05
HARD_LIMIT_SECONDS = 600
VISIBILITY_SECONDS = 1800
SOFT_SHUTDOWN_SECONDS = 30.0
KEPT_SECONDS = 60.0


def celery_app(settings: Settings) -> Celery:
    """Return the app on this installation's queue folder."""
    return _app(settings.queue_folder)


@cache
def _app(folder: Path) -> Celery:
    messages, processed = folder / "messages", folder / "processed"
    for place in (messages, processed, folder / "control"):
        place.mkdir(parents=True, exist_ok=True)
    app = Celery("xsys", broker="filesystem://")
    app.conf.update(
        broker_transport_options={
            "data_folder_in": str(messages),
            "data_folder_out": str(messages),
            "processed_folder": str(processed),  # on the same file system: a move across two is a copy, taken twice
            "store_processed": True,
            "control_folder": str(folder / "control"),
            "polling_interval": POLL_SECONDS,
            "visibility_timeout": VISIBILITY_SECONDS,
        },
        task_default_queue="parts",
        task_acks_late=False,  # re-delivery is the reaper's work, by lease: brokers do it too late or twice
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        task_time_limit=HARD_LIMIT_SECONDS,
        task_soft_time_limit=HARD_LIMIT_SECONDS - 60,
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
    )
    return app


def forget_processed(settings: Settings) -> None:
    """Remove messages that were taken a while ago: the rows say what became of their parts."""
    limit = time.time() - KEPT_SECONDS  # a worker reads a message after it has moved it here
    for message in (settings.queue_folder / "processed").glob("*.msg"):
        try:
            if message.stat().st_mtime < limit:
                message.unlink(missing_ok=True)
        except FileNotFoundError:
            continue  # swept by somebody else
