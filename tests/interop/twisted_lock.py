"""Twisted's side of tests/locks/filesystem.rs: `twisted_lock.py PATH`.

Does what it reads, a word a line, and prints what came of it.
"""

import os
import sys

# What takes a third of the start, and is not used here.
sys.modules["OpenSSL"] = None

from twisted.internet.defer import DeferredFilesystemLock
from twisted.internet.task import Clock
from twisted.python.lockfile import isLocked

path, clock = sys.argv[1], Clock()
lock = DeferredFilesystemLock(path, scheduler=clock)
tries = []

for line in sys.stdin:
    word = line.strip()
    said = "done"
    if word == "lock":
        said = f"{lock.lock()} {lock.clean}"
    elif word == "unlock":
        try:
            lock.unlock()
        except (ValueError, OSError) as error:
            said = type(error).__name__
    elif word == "look":
        said = str(isLocked(path))
    elif word == "wait":
        lock.deferUntilLocked().addCallback(tries.append)
        said = f"has it {bool(tries)}"
    elif word == "second":
        clock.advance(1)
        said = f"has it {bool(tries)}"
    elif word == "die":
        print("dying", flush=True)
        os._exit(0)
    print(said, flush=True)
