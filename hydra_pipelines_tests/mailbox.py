"""A mail server of one test: it takes mail over SMTP and keeps it."""

from __future__ import annotations

import email
import email.message
import email.policy
import socketserver
import threading
from dataclasses import dataclass, field


@dataclass
class Mailbox:
    """Listens until the end of the `with` block. refuse: the answer to every recipient."""

    refuse: str = ""
    silent: bool = False
    """Accepts connections and says nothing."""
    mails: list[email.message.EmailMessage] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Mailbox:
        box = self

        class Conversation(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                box.connections += 1
                if box.silent:
                    box.ended.wait(20)
                    return
                self._converse()

            def _converse(self) -> None:
                self._say("220 here")
                while line := self.rfile.readline().decode().strip():
                    command = line.split()[0].upper()
                    if command == "DATA":
                        self._say("354 go on")
                        lines = iter(self.rfile.readline, b".\r\n")
                        body = b"".join(lines)
                        box.mails.append(
                            email.message_from_bytes(body, policy=email.policy.default)  # type: ignore[arg-type]
                        )
                        self._say("250 kept")
                    elif command == "QUIT":
                        self._say("221 bye")
                        return
                    elif command == "RCPT" and box.refuse:
                        self._say(box.refuse)
                    else:
                        self._say("250 fine")

            def _say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

        self.ended = threading.Event()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Conversation)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The mailbox as a channel of the alerts."""
        return (
            f"mailto://127.0.0.1:{self.port}?from=desk@example.com&to=ann@example.com"
            "&smtp=127.0.0.1&mode=insecure"
        )

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    def text(self, number: int = -1) -> str:
        body = self.mails[number].get_body(("plain", "html"))
        assert body is not None
        return str(body.get_content())
