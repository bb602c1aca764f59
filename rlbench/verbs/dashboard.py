"""`rlbench dashboard`: all runs in a browser, live."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from contextlib import suppress

from rlbench.cli import Parser
from rlbench.paths import results_root

HELP = """\
Show all runs in a browser, live: a table to sort, filter and group; learning curves over seeds; scatter and parallel
coordinates of hyperparameters; comparisons; each run with its log, metrics and configuration. Ends with Ctrl-C.

It listens on 127.0.0.1 alone and sends nothing anywhere. From another machine: ssh -L 8080:127.0.0.1:8080 HOST, then
open http://127.0.0.1:8080 there."""


def main(argv: Sequence[str]) -> int:
    parser = Parser("dashboard", HELP)
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="only these runs (as in `rlbench compare`)")
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="default: 8080; 0: one that is free")
    parser.add_argument("--open", action="store_true", help="open the browser too")
    given = parser.read(argv)

    from rlbench.analysis.dashboard.server import HOST, serve

    server = serve(results_root(), given.filters, given.port)
    address = f"http://{HOST}:{server.server_address[1]}"
    print(f"{results_root()}: {address} (Ctrl-C ends it)", flush=True)
    if given.open:
        webbrowser.open(address)
    with server, suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0
