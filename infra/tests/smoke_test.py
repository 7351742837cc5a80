"""scripts/smoke against a stub of the gateway: it must pass when a payment is stored, and must not when
anything on the way is wrong. Run by scripts/check-infra."""

import base64
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

SMOKE = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts" / "smoke"
USER = "0b5f8f3e-52a7-4b83-8f2d-b1f5ad7a9c10"
TOKEN = ".".join(["e30", base64.urlsafe_b64encode(json.dumps({"sub": USER}).encode()).rstrip(b"=").decode(), "x"])


class Gateway(http.server.BaseHTTPRequestHandler):
    """Answers as the document says, but for what `fault` names."""

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        world = self.server.world
        if not self.headers.get("Authorization") and world["fault"] != "open to all":
            return self.answer(401, {"code": "unauthorized"})
        if body == b"{}":
            return self.answer(400, {"code": "invalid_body"})
        world["puts"].append(body)
        if len(world["puts"]) == 1 and world["fault"] == "first fails":
            return self.answer(503, {"code": "unavailable"}, {"Retry-After": "0"})
        digest = hashlib.md5(b"other" if world["fault"] == "cut" else body).hexdigest()
        world["accepted"] = {"requestId": "r", "bodyMd5": digest}
        return self.answer(200, {"status": "accepted", "messageId": "m", **world["accepted"]})

    def do_GET(self):
        world = self.server.world
        if world["fault"] == "lost":
            return self.answer(404, {"code": "not_found"})
        status = "refused" if world["fault"] == "refused" else "stored"
        payment = json.loads(world["puts"][-1])
        if world["fault"] == "overwritten":
            payment["amount"] = "9.99"
        return self.answer(200, {"status": status, "payment": payment, **world["accepted"]})

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Quiet."""


def smoke(fault):
    with tempfile.TemporaryDirectory() as name, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        folder = pathlib.Path(name)
        server.world = {"fault": fault, "puts": []}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        api = f"http://127.0.0.1:{server.server_address[1]}"
        ready = folder / "ready.json"
        ready.write_text(json.dumps({"api": api, "token": TOKEN}))
        environment = {name: value for name, value in os.environ.items() if name != "REMIT_TOKEN"}
        done = subprocess.run([sys.executable, SMOKE, "--ready", ready, "--seconds", "2"], env=environment, capture_output=True, text=True, timeout=60)
        server.shutdown()
        bodies = set(server.world["puts"])
        if len(bodies) > 1:
            sys.exit(f"smoke_test: {fault}: a retry sent other bytes: {bodies}")
        return done.stdout + done.stderr


def main():
    for fault, expected in [
        (None, "stored"),
        ("first fails", "stored"),
        ("open to all", "without a token was answered 200"),
        ("cut", "other bytes were queued"),
        ("lost", "not stored within 2 s: look for request r"),
        ("overwritten", "another payment was stored"),
        ("refused", "the payment became"),
    ]:
        said = smoke(fault).strip().splitlines()[-1]
        good = said.startswith("stored") if expected == "stored" else said.startswith("smoke: ") and expected in said
        if not good:
            sys.exit(f"smoke_test: {fault or 'no fault'}: {said}")


if __name__ == "__main__":
    main()
