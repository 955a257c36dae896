"""Serves the emulator on a free loopback port, and ends with whoever started it.

Runs as the leader of a process group of its own. Its standard input is a pipe whose other end only the starter holds: at
end of file the starter is gone, however it went, and the whole group (this process and the Lambda packages) is killed.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import threading


def end_group(leave_nothing_of):
    shutil.rmtree(leave_nothing_of, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def watch_starter():
    while os.read(0, 4096):
        pass
    # Nobody is left to name the log to anyone.
    end_group(os.environ["HOME"])


threading.Thread(target=watch_starter, daemon=True).start()

# Bound here and handed over, so that no other process can take the port in between.
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
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
# From here on standard output is the log too.
os.dup2(2, 1)
try:
    asyncio.run(serve(app, config))
except BaseException:
    sys.excepthook(*sys.exc_info())
finally:
    end_group(os.environ["TMPDIR"])
