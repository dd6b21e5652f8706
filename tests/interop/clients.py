"""Clients of Python's own sockets, for tcp.rs.

Run as `python3 clients.py WHAT ADDRESS [NUMBER]`, where WHAT is one of the functions below that take an address. What
it has to say it prints in one line; it fails when the server did not do what it should.
"""

import hashlib
import random
import select
import socket
import sys
import threading
import time


def connect(address):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def echo(address, size):
    """Sends so many bytes in pieces of 1 byte to 1 MB, while a thread reads, and compares the hashes."""
    dice = random.Random(size)
    sent, received = hashlib.sha256(), hashlib.sha256()
    counts = {"received": 0, "pieces": 0}
    sock = connect(address)

    def read():
        while data := sock.recv(1 << 18):
            received.update(data)
            counts["received"] += len(data)

    reader = threading.Thread(target=read)
    reader.start()
    left = size
    while left:
        # As many small ones as big ones: 1 byte to 2, 2 to 4, and so on.
        length = min(left, int(2 ** dice.uniform(0, 20)))
        piece = dice.randbytes(length)
        sent.update(piece)
        sock.sendall(piece)
        left -= length
        counts["pieces"] += 1
    sock.shutdown(socket.SHUT_WR)
    reader.join()
    assert counts["received"] == size, f"{counts['received']} of {size} bytes came back"
    assert received.digest() == sent.digest(), "the bytes came back mixed up"
    print(f"{size} bytes in {counts['pieces']} pieces")


def requests(address, count):
    """Sends so many requests, each with its end at once, and counts the replies."""
    dice = random.Random(count)
    good = 0
    for _ in range(count):
        request = dice.randbytes(dice.choice([1, 100, 4096, 4097, 20_000, 60_000]))
        with connect(address) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            reply = b""
            while data := sock.recv(1 << 16):
                reply += data
        good += reply == request
    print(f"{good} of {count}")


def glut(address, megabytes):
    """Sends for three seconds at most, or until nothing went for one, and never reads."""
    sock = connect(address)
    sock.setblocking(False)
    piece, sent = b"x" * (1 << 20), 0
    end = time.monotonic() + 3
    print("begun", flush=True)
    while sent < megabytes << 20 and time.monotonic() < end:
        _, writable, _ = select.select([], [sock], [], 1)
        if not writable:
            break
        sent += sock.send(piece)
    print(f"{sent >> 10} KiB sent", flush=True)


def crowd(address, seconds):
    """500 clients at once, that say hello, and leave together; says how many were answered."""
    host, port = address.rsplit(":", 1)
    clients = []
    for _ in range(500):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((host, int(port)))
        clients.append(client)
    print("begun", flush=True)
    answered, waiting = 0, select.poll()
    by_number = {client.fileno(): client for client in clients}
    for number in by_number:
        waiting.register(number, select.POLLOUT)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        for number, events in waiting.poll(left * 1000):
            if events & select.POLLIN:
                assert by_number[number].recv(10) == b"hello\n"
                answered += 1
                waiting.unregister(number)
            elif events & select.POLLOUT:
                by_number[number].send(b"hello\n")
                waiting.modify(number, select.POLLIN)
            else:
                waiting.unregister(number)
    print(f"{answered} answered", flush=True)


def fetch(address, count):
    """Fetches `/` so many times, with the library's client for HTTP, and says what it got."""
    import http.client

    for _ in range(count):
        client = http.client.HTTPConnection(address, timeout=20)
        client.request("GET", "/")
        response = client.getresponse()
        body = response.read()
        print(response.status, len(body), hashlib.sha256(body).hexdigest()[:8])
        client.close()


if __name__ == "__main__":
    what, where, number = sys.argv[1:]
    globals()[what](where, int(number))
