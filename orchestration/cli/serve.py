"""`xsys serve` and `xsys worker`: the server with its supervised worker, or one of them alone."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import Annotated

import typer

from contracts.errors import XsysError
from services.kit.settings import Settings, load_settings

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

    import uvicorn

    from orchestration.bootstrap import build
    from orchestration.gateway.app import create_app
    from orchestration.jobs.supervisor import Supervisor

    listening = listen(settings)
    one_thread_per_request(settings)
    taken = settings.model_copy(update={"port": listening.getsockname()[1]})
    wiring = build(taken)
    wiring.explanation.warm()
    config = uvicorn.Config(
        create_app(wiring),
        log_level="warning",
        timeout_graceful_shutdown=5,  # an open event stream must not hold the server for ever
        server_header=False,
    )
    url = f"http://{taken.host}:{taken.port}"
    typer.echo(BANNER.format(url=url, link=url + wiring.governance.login_link()))
    with Supervisor(taken) if with_worker else nullcontext():
        uvicorn.Server(config).run(sockets=[listening])


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Jobs then wait for `xsys worker`.")] = False,
) -> None:
    """Serve the browser UI and the REST API, with a worker beside it."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    run_server(load_settings().model_copy(update=given), with_worker=not no_worker)


def worker(
    queues: Annotated[str, typer.Option(help="Resources whose parts to take, with commas.")] = "cpu,gpu,io,reduce",
    processes: Annotated[int, typer.Option(min=1, help="Worker processes, each restarted if it ends.")] = 1,
) -> None:
    """Work off jobs until interrupted, without a server."""
    from orchestration.jobs.worker import main as work

    os.environ.setdefault("XSYS_HOME", str(load_settings().home.absolute()))
    if processes == 1:
        work(["--queues", queues])
    else:
        supervise(load_settings(), queues.split(","), processes)


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
