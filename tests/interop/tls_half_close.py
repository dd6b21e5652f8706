"""A client of OpenSSL's library for tls/volume.rs: `tls_half_close.py PORT CA SIZE`.

Sends SIZE bytes in pieces of all sizes, ends its direction by `close_notify`, and reads on until
the server ends the other one: what it has read has to be what it has sent.
"""

import hashlib
import select
import socket
import ssl
import sys

port, authority, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
context = ssl.create_default_context(cafile=authority)
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
conn = socket.create_connection(("127.0.0.1", port))
conn.setblocking(False)
received, count, ended = hashlib.sha256(), 0, False


def exchange(wait):
    """Sends what is to be sent and receives what is there; blocks if `wait`."""
    data = outgoing.read()
    while data or wait:
        readable, writable, _ = select.select([conn], [conn] if data else [], [], 20)
        assert readable or writable, "nothing happens"
        if writable:
            data = data[conn.send(data) :]
        if readable:
            wait = False
            got = conn.recv(1 << 16)
            incoming.write(got) if got else incoming.write_eof()


def read():
    """Reads all that there is."""
    global count, ended
    while not ended:
        try:
            data = tls.read(1 << 16)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:
            data = b""
        ended = not data
        received.update(data)
        count += len(data)


while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        exchange(True)
exchange(False)
sent, left, step = hashlib.sha256(), size, 1
block = bytes(range(251)) * 262
while left:
    piece = block[: min(step, left)]
    tls.write(piece)
    sent.update(piece)
    left -= len(piece)
    step = step * 2 % 65521
    exchange(False)
    read()
assert not ended
try:
    tls.unwrap()
except (ssl.SSLWantReadError, ssl.SSLSyscallError):
    pass
exchange(False)
while not ended:
    exchange(True)
    read()
print("same" if (count, received.digest()) == (size, sent.digest()) else f"{count} of {size}")
