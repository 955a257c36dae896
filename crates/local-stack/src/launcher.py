"""Serves the emulator on a loopback port, and ends with the process that started it (the parent).

The argument is the port; 0 means any free one.

This process is the leader of a new process group. Only the parent holds the other end of the pipe that is its standard
input. An end of file means that the parent has ended, for any reason: then the whole group, which is this process and
the Lambda functions, is killed.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import threading


def end_group(directory):
    """Removes the directory and kills the process group."""
    shutil.rmtree(directory, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def watch_parent():
    while os.read(0, 4096):
        pass
    # The parent can no longer report the path of the log, so the log is removed too.
    end_group(os.environ["HOME"])


threading.Thread(target=watch_parent, daemon=True).start()

# The socket is bound here and passed to the server, so that no other process can take the port in between.
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
os.environ["GATEWAY_PORT"] = str(listener.getsockname()[1])
os.environ["AWS_ENDPOINT_URL"] = url

from hypercorn.asyncio import serve  # noqa: E402
from hypercorn.config import Config  # noqa: E402
from ministack.app import app  # noqa: E402

config = Config()
config.bind = [f"fd://{listener.detach()}"]
config.keep_alive_timeout = 75
os.write(1, f"{url}\n".encode())
# From here on, standard output goes to the log too.
os.dup2(2, 1)
try:
    asyncio.run(serve(app, config))
except BaseException:
    sys.excepthook(*sys.exc_info())
finally:
    end_group(os.environ["TMPDIR"])
