"""`xsys serve` and `xsys worker`: the server with its supervised worker, or one of them alone."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from contracts.errors import XsysError
from orchestration.processes import Process, url_of
from services.kit.logging import configure_logging
from services.kit.settings import Settings, load_settings
from services.kit.tracing import configure_tracing

if TYPE_CHECKING:
    from fastapi import FastAPI

DEFAULT_PORT = 8000
BANNER = """
  xsys is ready at {url}
  log in (once, within 10 minutes): {link}
  API: {url}/v1/docs     stop: Ctrl-C
"""


def attach(app: typer.Typer) -> None:
    """Add these commands to the tree."""
    app.command("serve")(serve)
    app.command("worker")(worker)
    app.command("reaper")(reaper)
    app.command("worker-alive", hidden=True)(worker_alive)


class AddressInUse(XsysError):
    status = 503
    remedy = "Stop what listens there, or take another port: `xsys serve --port PORT`."


def listen(settings: Settings) -> socket.socket:
    """Take the address before anything is started or promised.

    Raises
    ------
    AddressInUse : somebody else has it, or it is not this machine's.
    """
    try:
        listening = socket.create_server((settings.host, settings.port))
    except OSError as error:
        raise AddressInUse(f"{settings.host}:{settings.port}: {error.strerror}", field="port") from error
    # asyncio sets this only on sockets made with an explicit protocol; without it every reply waits 40 ms for an ACK
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def one_thread_per_request(settings: Settings) -> None:
    """Keep numerical libraries to one thread a request.

    Requests run side by side, and two threads on a busy host made a single FAISS query four times slower. The OpenMP
    runtimes of torch and FAISS read the environment when they load.
    """
    from threadpoolctl import threadpool_limits

    threads = settings.threads or 1
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threadpool_limits(threads)


def run_server(settings: Settings, *, with_worker: bool = True) -> None:
    """Serve UI and API until interrupted; a worker child is kept alive beside it."""
    from contextlib import nullcontext

    from orchestration.bootstrap import build
    from orchestration.gateway.app import create_app
    from orchestration.jobs.supervisor import Supervisor

    listening = listen(settings)
    one_thread_per_request(settings)
    taken = settings.model_copy(update={"port": listening.getsockname()[1]})
    configure_tracing(settings, "server")
    wiring = build(taken)
    wiring.explanation.warm()
    app = create_app(wiring)
    url = f"http://{taken.host}:{taken.port}"
    typer.echo(BANNER.format(url=url, link=url + wiring.governance.login_link()))
    with Supervisor(taken) if with_worker else nullcontext():
        answer(app, listening)


def run_process(settings: Settings, process: Process) -> None:
    """Serve one process of the distributed mode until interrupted.

    Raises
    ------
    Misconfigured : a setting that several processes need is missing, or the database is another release's.
    """
    from orchestration.bootstrap import build
    from orchestration.gateway.distance import open_gateway, require_schema, service_app

    settings.require_distributed()
    require_schema(settings)
    listening = listen(settings)
    one_thread_per_request(settings.model_copy(update={"threads": 1}))
    configure_logging(json=not sys.stderr.isatty())
    configure_tracing(settings, process.value)
    wiring = build(settings)
    if process is Process.EXPLANATION:
        wiring.explanation.warm()
    app = open_gateway(wiring) if process is Process.GATEWAY else service_app(process, wiring)
    typer.echo(f"xsys {process} is ready at http://{settings.host}:{listening.getsockname()[1]}", err=True)
    answer(app, listening)


def answer(app: FastAPI, listening: socket.socket) -> None:
    """Answer requests until told to stop; then finish what was begun."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=5,  # an open event stream must not hold the server for ever
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])


def serve(
    process: Annotated[
        Process | None, typer.Argument(help="Serve this process of several; default: everything.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Jobs then wait for `xsys worker`.")] = False,
) -> None:
    """Serve the browser UI and the REST API, with a worker beside it."""
    given: dict[str, object] = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings()
    if process is None:
        run_server(settings.model_copy(update=given), with_worker=not no_worker)
        return
    if "port" not in settings.model_fields_set and process is not Process.GATEWAY:
        given.setdefault("port", urlsplit(url_of(settings, process)).port or DEFAULT_PORT)
    run_process(settings.model_copy(update=given), process)


def worker(
    queues: Annotated[str, typer.Option(help="Resources whose parts to take, with commas.")] = "cpu,gpu,io,reduce",
    processes: Annotated[int, typer.Option(min=1, help="Worker processes, each restarted if it ends.")] = 1,
) -> None:
    """Work off jobs until interrupted, without a server."""
    from orchestration.gateway.distance import require_schema
    from orchestration.jobs.worker import main as work

    settings = load_settings()
    if settings.distributed:
        settings.require_distributed()
        require_schema(settings)
    os.environ.setdefault("XSYS_HOME", str(settings.home.absolute()))
    if processes == 1:
        work(["--queues", queues])
    else:
        supervise(settings, queues.split(","), processes)


def worker_alive() -> None:
    """Exit 0 if a worker of this machine gave a sign of life within its limit: a probe for orchestrators."""
    from orchestration.jobs.workers import own_age
    from services.kit.db import Database

    settings = load_settings()
    age = own_age(Database(settings.resolved_database_url))
    if age is None or age > 6 * settings.heartbeat.total_seconds():
        typer.echo("no worker of this machine gives signs of life", err=True)
        raise typer.Exit(1)


def supervise(settings: Settings, resources: list[str], processes: int) -> None:
    """Keep several worker processes alive, each started afresh: nothing forks after torch or FAISS were used."""
    from contextlib import ExitStack

    from orchestration.jobs.supervisor import Supervisor

    with ExitStack() as stack:
        for number in range(processes):
            stack.enter_context(Supervisor(settings, resources=resources, reaps=number == 0))
        until_told_to_stop()


def reaper() -> None:
    """Set going again what got stuck, until interrupted; several of these agree on one that is on duty."""
    from orchestration.bootstrap import open_reaper

    duty = open_reaper(load_settings())
    duty.start()
    until_told_to_stop()
    duty.stop()


def until_told_to_stop() -> None:
    """Wait for SIGTERM or Ctrl-C."""
    told = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: told.set())
    told.wait()
