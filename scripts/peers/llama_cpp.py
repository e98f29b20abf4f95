"""llama.cpp's HTTP server on loopback, out of the PyPI package `xllamacpp`: `python llama_cpp.py MODEL.gguf`.

It runs in a virtual environment of its own, which has `xllamacpp` and nothing of ours.
"""

from __future__ import annotations

import argparse
import signal

import xllamacpp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a GGUF file")
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slots", type=int, default=12, help="chats side by side (default: 12)")
    parser.add_argument("--context", type=int, default=24_576, help="tokens of all slots together")
    asked = parser.parse_args()

    params = xllamacpp.CommonParams()
    params.model.path = asked.model
    params.hostnames = ["127.0.0.1"]
    params.port = asked.port
    params.n_parallel = asked.slots
    params.n_ctx = asked.context
    params.cpuparams.n_threads = asked.threads
    params.cpuparams_batch.n_threads = asked.threads
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
