"""A webhook's receiver that checks each request as Voxtra 0.3.1's `webhooks` module documents, reads it with 0.3.1's own
event class, and prints one JSON line for it. The first line is its own address."""

import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from voxtra.events import VoxtraEvent
from voxtra.webhooks import BackendWebhook

SECRET = sys.argv[1]


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = self.checked(body)
            said = {"event": event.type, "session": event.session_id, "id": event.id, "data": event.data}
        except Exception as error:
            said = {"error": f"{type(error).__name__}: {error}", "body": body.decode(errors="replace")}
        print(json.dumps(said), flush=True)
        self.send_response(204 if "error" not in said else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def checked(self, body: bytes) -> VoxtraEvent:
        # As its documentation says.
        expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(expected, self.headers["X-Voxtra-Signature"]), "the signature is wrong"
        # As its code does.
        assert BackendWebhook._sign(body, SECRET) == self.headers["X-Voxtra-Signature"]
        event = VoxtraEvent.model_validate_json(body)
        assert self.headers["X-Voxtra-Event"] == str(event.type), "X-Voxtra-Event"
        assert self.headers["X-Voxtra-Event-Id"] == event.id, "X-Voxtra-Event-Id"
        assert self.headers["X-Voxtra-Session-Id"] == event.session_id, "X-Voxtra-Session-Id"
        assert self.headers["Content-Type"] == "application/json", "Content-Type"
        assert self.headers["User-Agent"] == "voxtra-webhook/1", "User-Agent"
        return event

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
