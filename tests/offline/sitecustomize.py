"""No network for this process. Python imports a `sitecustomize` it finds on its path, so child processes obey too."""

import socket
import sys


class NetworkBlocked(RuntimeError):
    """A test reached for the network."""


def refuse(event: str, arguments: tuple) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if arguments[0].family != getattr(socket, "AF_UNIX", None):
            raise NetworkBlocked(f"a test reached for {arguments[1]}")
    elif event == "socket.getaddrinfo" and arguments[0] not in (None, "", "localhost", "127.0.0.1", "::1"):
        raise NetworkBlocked(f"a test looked up {arguments[0]}")


sys.addaudithook(refuse)
