"""Twisted's side of endpoints.rs: reads lines `server TEXT` and `client TEXT`, and says for each what
Twisted makes of it, or the kind of the error."""

import sys

from twisted.internet import endpoints, reactor
from twisted.python.systemd import ListenFDs

FAMILIES = {2: "INET", 10: "INET6", 1: "UNIX"}


def ip(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server(endpoint):
    kind = type(endpoint).__name__
    if kind in ("TCP4ServerEndpoint", "TCP6ServerEndpoint"):
        where = ip(endpoint._interface or "0.0.0.0", endpoint._port)
        return f"{where} backlog={endpoint._backlog}"
    if kind == "UNIXServerEndpoint":
        lock = int(endpoint._wantPID)
        return f"unix:{endpoint._address} mode={endpoint._mode:o} backlog={endpoint._backlog} lock={lock}"
    if kind == "AdoptedStreamServerEndpoint":
        return f"given {endpoint.fileno} {FAMILIES[endpoint.addressFamily]}"
    if kind == "StandardIOEndpoint":
        return "stdio:"
    if kind == "_WrapperServerEndpoint":
        return "haproxy:" + server(endpoint._wrappedEndpoint)
    return kind


def client(endpoint):
    kind = type(endpoint).__name__
    if kind == "TCP4ClientEndpoint":
        bind = endpoint._bindAddress[0] if endpoint._bindAddress else "none"
        return f"{ip(endpoint._host, endpoint._port)} timeout={endpoint._timeout} bind={bind}"
    if kind == "UNIXClientEndpoint":
        return f"unix:{endpoint._path} timeout={endpoint._timeout} lock={int(endpoint._checkPID)}"
    return kind


def main():
    endpoints._SystemdParser._sddaemon = ListenFDs([3, 4], ["web", "admin"])
    for line in sys.stdin:
        side, _, text = line.rstrip("\n").partition(" ")
        try:
            if side == "server":
                said = server(endpoints.serverFromString(reactor, text))
            else:
                said = client(endpoints.clientFromString(reactor, text))
        except Exception as error:
            said = f"error {type(error).__name__}"
        print(said, flush=True)


main()
