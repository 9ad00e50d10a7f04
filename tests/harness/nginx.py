"""nginx as a balancer of gRPC calls over several servers: the usual front of several routers."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path

from harness.ports import accepts_connections, free_port
from harness.processes import Program, find_program

_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  upstream servers {{
    {servers}
    keepalive 16;
  }}
  server {{
    listen 127.0.0.1:{port} http2;
    location / {{
      grpc_pass grpc://servers;
      grpc_read_timeout 600s;
      grpc_send_timeout 600s;
      grpc_next_upstream error timeout non_idempotent;
      error_page 502 503 504 = @unavailable;
    }}
    location @unavailable {{
      internal;
      default_type application/grpc;
      add_header grpc-status 14;
      add_header grpc-message "no server answers";
      return 204;
    }}
  }}
}}
"""


class Nginx(Program):
    """A balancer on ``port``; each call goes to the next of the addresses, and to another one when that is down."""

    def __init__(self, folder: Path, addresses: Sequence[str]) -> None:
        """Describe a balancer over ``host:port`` addresses, in a folder of its own."""
        self.port = free_port()
        self._configuration = folder / "nginx.conf"
        super().__init__(
            f"nginx-{self.port}",
            [find_program("nginx") or "nginx", "-p", folder, "-c", self._configuration, "-e", "stderr"],
            folder,
        )
        self.balance(addresses)

    @staticmethod
    def missing() -> str:
        """Return what is not installed, or nothing."""
        return "" if find_program("nginx") else "nginx is not installed (Debian: nginx-light)"

    def launch(self) -> None:
        """Start it and wait until it listens."""
        self.start(lambda: accepts_connections(self.port))

    def balance(self, addresses: Sequence[str]) -> None:
        """Go on over these addresses; calls under way end at the old ones."""
        self._configuration.write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                port=self.port,
                servers="\n    ".join(f"server {address} max_fails=1 fail_timeout=1s;" for address in addresses),
            )
        )
        if self.running:
            self.signal(signal.SIGHUP)
