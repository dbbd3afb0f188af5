"""Pass a stage on to a process that has imported its packages (warm_stages.py).

The `python` that rules find in tests calls this. Its arguments are the folder of warm_stages.py, a
folder for names of stages, and what `python` was called with. The first job of each stage in all
tests gets a Python of its own, so that nothing which a stage forgets to import is missed; but for
those that conftest.py names. So does whatever is not a stage.
"""

import _socket  # `socket` would take longer to import than all the rest
import marshal
import os
import sys

home, seen, *arguments = sys.argv[1:]
script = arguments[0] if arguments else ""
try:
    if os.path.basename(os.path.dirname(script)) == "workflow_scripts":
        os.mkdir(os.path.join(seen, os.path.basename(script)))
    os.execv(sys.executable, [sys.executable, *arguments])
except FileExistsError:
    pass
server = _socket.socket(_socket.AF_UNIX)
server.connect(os.path.join(home, "socket"))
files = b"".join(number.to_bytes(4, sys.byteorder) for number in range(3))
server.sendmsg([b" "], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
call = marshal.dumps((arguments, dict(os.environ), os.getcwd()))
while call:
    call = call[server.send(call) :]
server.shutdown(_socket.SHUT_WR)
status = int(server.recv(10) or 1)
if status < 0:
    os.kill(os.getpid(), -status)
sys.exit(status)
