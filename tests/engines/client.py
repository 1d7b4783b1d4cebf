"""A sender of webhooks in a network namespace."""

import json
import subprocess
import sys
from pathlib import Path

from host import Failure, call

ELEVENLABS = "/api/webhooks/elevenlabs/call-status"
# One of the addresses that ElevenLabs publishes, and one that nobody uses (RFC 5737).
PROVIDER, STRANGER = "34.67.146.145", "198.51.100.7"

# Requests that are open at one time, at most.
SENDERS = 24


class Client:
    """Sends from the namespace that `enter` (a command) enters."""

    def __init__(self, enter, **settings):
        self.enter = enter
        self.settings = {"path": ELEVENLABS, "senders": SENDERS, **settings}

    def having(self, **settings):
        """The same client with other settings."""
        return Client(self.enter, **{**self.settings, **settings})

    def command(self, settings):
        """The command that sends with `settings`."""
        script = Path(__file__).with_name("sender.py")
        return [*self.enter, sys.executable, str(script), json.dumps({**self.settings, **settings})]

    def post(self, body, **settings):
        """Posts one body, and returns status, code and text of the answer."""
        body = body if isinstance(body, str) else json.dumps(body)
        answer = json.loads(call(*self.command({"body": body, **settings}), timeout=60).splitlines()[-1])
        return answer["status"], answer["code"], answer["text"]

    def busy(self, call_id, **settings):
        """Posts a small webhook, and returns status and code."""
        return self.post({"event_type": "call.busy", "call_id": call_id}, **settings)[:2]

    def load(self, run, prefix, rate=None):
        """Starts to send `rate` webhooks per second, or one after the other without a rate."""
        settings = {"prefix": prefix, **({"rate": rate} if rate else {})}
        process = run.start(
            f"load-{prefix}", *self.command(settings), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return Load(run, prefix, process)


class Load:
    """A running load."""

    def __init__(self, run, prefix, process):
        self.run, self.prefix, self.process = run, prefix, process

    def finish(self, what, lost=0):
        """Ends the load, and returns what was measured.

        Every answer must have been 200, except for `lost` requests that a killed process may have had open.
        """
        if self.process.poll() is not None:
            raise Failure(f"the sender ended early: {self.run.log(f'load-{self.prefix}')}")
        output, _ = self.process.communicate(timeout=90)
        answers = json.loads(output)
        self.run.say(
            f"{what}: {answers['sent']} webhooks in {answers['seconds']:.0f} s, "
            f"{sum(answers['failures'].values())} not answered 200, "
            f"median {answers['median'] * 1e3:.0f} ms, longest answer {answers['longest']:.2f} s"
        )
        failures = answers["failures"]
        if sum(failures.values()) > lost:
            raise Failure(f"{what}: webhooks that were not answered 200: {failures}")
        return answers
