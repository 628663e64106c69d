import socket

import pytest

from orchestration.cli.serve import AddressInUse, listen
from services.kit.settings import Settings


def test_replies_do_not_wait_for_an_acknowledgement():
    with listen(Settings(port=0)) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_somebody_has_is_refused_with_what_to_do():
    with listen(Settings(port=0)) as taken, pytest.raises(AddressInUse) as refusal:
        listen(Settings(port=taken.getsockname()[1]))
    assert "--port" in refusal.value.remedy
