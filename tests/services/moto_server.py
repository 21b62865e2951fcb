"""moto as a server that is a little more like AWS. Run by the Python of moto's own environment, with its arguments."""

from __future__ import annotations

import select
import socket
import sys
from typing import Any

from flask import request
from moto.server import main
from moto.sqs.models import Queue

_wait_for_messages = Queue.wait_for_messages


def _wait_as_long_as_somebody_listens(queue: Any, seconds: int) -> None:
    """moto would go on to wait for a client that is gone, and hand it the next message."""
    _wait_for_messages(queue, seconds)
    connection = request.environ["werkzeug.socket"]
    readable, _, _ = select.select([connection], [], [], 0)
    if readable and not connection.recv(1, socket.MSG_PEEK):
        raise ConnectionAbortedError("the client is gone")


Queue.wait_for_messages = _wait_as_long_as_somebody_listens
# moto looks whether a message is free and then takes it, without a lock: threads must not change between the two.
sys.setswitchinterval(10)
main(sys.argv[1:])
