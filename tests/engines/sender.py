"""Sends webhooks from the network namespace that it runs in, and prints what was answered as JSON.

usage: sender.py SETTINGS, a JSON object. With `rate` or `sequential`, it sends until its standard input closes.
"""

import hashlib
import hmac
import http.client
import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter

ANSWER_TIMEOUT = 30
# One in this many webhooks of the load uses a new connection.
NEW_CONNECTION_EVERY = 10


class Sender:
    """A client of one gateway, or of the proxy before it."""

    def __init__(self, settings):
        self.settings = settings
        self.tls = ssl.create_default_context(cafile=settings["ca"]) if settings.get("ca") else None

    def connect(self):
        """A new connection, from `source` if it is set."""
        settings = self.settings
        source = (settings["source"], 0) if settings.get("source") else None
        connection = http.client.HTTPConnection(settings.get("domain") or settings["address"], timeout=ANSWER_TIMEOUT)
        address = (settings["address"], settings["port"])
        connection.sock = socket.create_connection(address, ANSWER_TIMEOUT, source)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            connection.sock = self.tls.wrap_socket(connection.sock, server_hostname=settings["domain"])
        connection.auto_open = False
        return connection

    def post(self, body, connection=None, path=None):
        """Posts a signed webhook. Returns the status and the code of a refusal."""
        settings = self.settings
        own = connection is None
        connection = self.connect() if own else connection
        headers = {"Content-Type": "application/json", **settings.get("headers", {})}
        if settings.get("secret"):
            now = int(time.time())
            signature = hmac.new(settings["secret"].encode(), f"{now}.".encode() + body, hashlib.sha256)
            headers["ElevenLabs-Signature"] = f"t={now},v0={signature.hexdigest()}"
        try:
            connection.request("POST", path or settings["path"], body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            if own:
                connection.close()
        if answer.getheader("Connection", "").lower() == "close":
            connection.close()
        try:
            code = json.loads(text).get("code")
        except ValueError:
            code = None
        return answer.status, code, text.decode(errors="replace")


class Load:
    """Webhooks at a fixed rate, or one after the other. No request is repeated."""

    def __init__(self, sender, rate, prefix):
        self.sender, self.rate, self.prefix = sender, rate, prefix
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.sent, self.failures, self.stored, self.latencies = 0, Counter(), 0, []
        self.begin = time.monotonic()

    def run(self):
        """Sends until standard input closes."""
        threads = [threading.Thread(target=self.work) for _ in range(self.sender.settings['senders'] if self.rate else 1)]
        for thread in threads:
            thread.start()
        sys.stdin.read()
        self.stop.set()
        for thread in threads:
            thread.join()
        latencies = sorted(self.latencies)
        return {
            "sent": self.sent,
            "seconds": time.monotonic() - self.begin,
            "stored": self.stored,
            "failures": dict(self.failures),
            "median": latencies[len(latencies) // 2] if latencies else 0,
            "longest": latencies[-1] if latencies else 0,
        }

    def work(self):
        """Sends webhooks, most of them on one connection."""
        connection = None
        while not self.stop.is_set():
            with self.lock:
                number = self.sent
                self.sent += 1
            if self.rate and self.stop.wait(max(0, self.begin + number / self.rate - time.monotonic())):
                with self.lock:
                    self.sent -= 1
                return
            body = json.dumps({"event_type": "call.busy", "call_id": f"{self.prefix}{number}"}).encode()
            began = time.monotonic()
            try:
                fresh = not self.rate or number % NEW_CONNECTION_EVERY == 0
                if not fresh and (connection is None or connection.sock is None):
                    connection = self.sender.connect()
                status, code, _ = self.sender.post(body, None if fresh else connection)
                failure = None if status == 200 else f"{status} {code}"
            except (OSError, http.client.HTTPException) as error:
                failure = f"{type(error).__name__}: {error}"
                if connection is not None:
                    connection.close()
            with self.lock:
                self.latencies.append(time.monotonic() - began)
                if failure:
                    self.failures[failure] += 1
                else:
                    self.stored += 1


def main():
    """Sends one body, or a load."""
    settings = json.loads(sys.argv[1])
    sender = Sender(settings)
    if "body" in settings:
        status, code, text = sender.post(settings["body"].encode())
        print(json.dumps({"status": status, "code": code, "text": text}))
    else:
        print(json.dumps(Load(sender, settings.get("rate"), settings["prefix"]).run()))


main()
