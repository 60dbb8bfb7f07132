"""The suite cannot reach the network, nor can the processes that it starts."""

import socket
import subprocess
import sys

import pytest

REACH = "import socket; socket.socket().connect(('192.0.2.1', 80))"


def test_this_process_reaches_nothing() -> None:
    with socket.socket() as reaching, pytest.raises(RuntimeError, match="reached for"):
        reaching.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="looked up"):
        socket.getaddrinfo("example.org", 80)


def test_a_child_reaches_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", REACH], capture_output=True, text=True, check=False)
    assert "NetworkBlocked: a test reached for ('192.0.2.1', 80)" in done.stderr


def test_processes_of_this_machine_still_talk() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"hello")
        assert other.recv(5) == b"hello"
