"""Runs a program in a terminal, as a job of its own: pty.py ROWS COLS PROGRAM [ARGUMENT]...

Orders come as JSON lines: {"keys": text}, {"size": [rows, cols]}, {"pause": bool}. What the program shows goes to standard output as it
is. Lines of JSON on standard error tell its pid, when it was stopped (and is sent on), and how it ended; with both whether the terminal
was as it had been before it.
"""

import fcntl
import json
import os
import select
import signal
import struct
import sys
import termios

rows, cols, *command = sys.argv[1:]
master, end = os.openpty()


def resize(rows, cols):
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))


def tell(**what):
    os.write(2, (json.dumps(what) + "\n").encode())


def same():
    return termios.tcgetattr(end) == before


def lead():
    """A session has a leader besides the job, or the job could not be stopped."""
    os.close(master)
    os.setsid()
    fcntl.ioctl(end, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(end, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        for number in range(3):
            os.dup2(end, number)
        os.closerange(3, 256)
        os.execv(command[0], command)
    tell(pid=job)
    while True:
        _, how = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(how):
            tell(code=os.waitstatus_to_exitcode(how), same=same())
            os._exit(0)
        tell(stopped=True, same=same())
        os.kill(job, signal.SIGCONT)


resize(int(rows), int(cols))
before = termios.tcgetattr(end)
leader = os.fork()
if leader == 0:
    lead()

orders = b""
keys = b""
sources = [0, master]
over = False
while not over or select.select([master], [], [], 0)[0]:
    readable, writable, _ = select.select(sources, [master] if keys else [], [], 0.02)
    if 0 in readable:
        more = os.read(0, 65536)
        if not more:
            sources.remove(0)
        orders += more
        *lines, orders = orders.split(b"\n")
        for line in lines:
            order = json.loads(line)
            keys += order.get("keys", "").encode()
            if "size" in order:
                resize(*order["size"])
            if "pause" in order:
                (sources.remove if order["pause"] else sources.append)(master)
    if writable:
        keys = keys[os.write(master, keys[:1024]) :]
    if master in readable or (over and select.select([master], [], [], 0)[0]):
        os.write(1, os.read(master, 65536))
    over = over or os.waitpid(leader, os.WNOHANG)[0] == leader
