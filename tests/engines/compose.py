"""The stage `compose`: the shipped Dockerfile and Compose file, with stand-ins for public images.

Webhooks come over HTTPS from machines with addresses of their own, so the gateway's check of the source is real.
"""

import json
import os
import signal
import time

from client import PROVIDER, SENDERS
from docker import ADDRESS, renew_rust
from host import Failure, Run, call, expect, until
from installation import API_TOKEN, GATEWAYS, SECRETS, WORKERS, Compose

# Webhooks per second of the loads, and the longest answer that a rolling update may cause, in seconds.
RATE = 100
LONGEST_ANSWER = 3.0
BROKER_OUTAGE = 8


def stage():
    """Installs, and checks everything below."""
    with Run("compose") as run:
        installed = Compose(run)
        installed.install()
        try:
            check_webhooks(installed)
            check_monitoring(installed)
            check_console(installed)
            check_rotation(installed)
            check_crash_after_hangup(installed)
            check_broker_outage(installed)
            check_wrong_configuration(installed)
            check_rolling_update(installed)
            check_restarts(installed)
        except Failure:
            print(installed.compose("ps", "--all"))
            print(installed.compose("logs", "--tail=15", *GATEWAYS, *WORKERS, "caddy", "alertmanager"))
            raise


def check_webhooks(installed):
    """A signed webhook becomes a document. Strangers, wrong signatures and private paths are refused."""
    conversation = {
        "type": "post_call_transcription",
        "event_timestamp": int(time.time()),
        "data": {
            "agent_id": "agent_engines",
            "conversation_id": "conv_engines",
            "status": "done",
            "transcript": [{"role": "agent", "message": "Hello", "time_in_call_secs": 0}],
            "metadata": {"start_time_unix_secs": int(time.time()) - 60, "call_duration_secs": 30},
            "analysis": {"call_successful": "success", "transcript_summary": "A greeting."},
        },
    }
    status, _, text = installed.provider.post(conversation)
    expect(f"a webhook over HTTPS ({text.strip()})", status, 200)
    expect("the same webhook again", json.loads(installed.provider.post(conversation)[2])["duplicate"], True)
    query = "db.agent_calls.findOne({conversationId: 'conv_engines'})"
    document = until("the document", lambda: installed.database(query), interval=0.5)
    expect("its status and transcript", (document["status"], document["transcriptState"]), ("completed", "saved"))
    token = {"Authorization": f"Bearer {API_TOKEN}"}
    question = {"conversation_id": "conv_engines"}
    status, _, text = installed.provider.post(question, path="/api/agent-calls/status", headers=token)
    expect("a lookup", (status, json.loads(text).get("status")), (200, "completed"))
    expect("a stranger", installed.stranger.busy("s1"), (403, "source_not_allowed"))
    lying = {"X-Forwarded-For": PROVIDER}
    expect("a stranger who lies about itself", installed.stranger.busy("s2", headers=lying), (403, "source_not_allowed"))
    expect("a wrong secret", installed.provider.busy("s3", secret="wrong"), (401, "signature_invalid"))
    expect("a private path", installed.provider.busy("s4", path="/metrics")[0], 404)
    installed.run.say("a webhook over HTTPS has its document; a stranger gets 403")


def check_monitoring(installed):
    """Prometheus reaches every gateway, worker and console."""

    def targets():
        url = "http://127.0.0.1:9090/api/v1/targets"
        shown = installed.compose("exec", "-T", "prometheus", "wget", "-q", "-O-", url, check=False)
        found = json.loads(shown)["data"]["activeTargets"] if shown.startswith("{") else []
        up = {target["scrapeUrl"].split("/")[2].split(":")[0] for target in found if target["health"] == "up"}
        return up >= {*GATEWAYS, *WORKERS, "console"}

    until("Prometheus scrapes gateways, workers and the console", targets, interval=1)
    installed.run.say("Prometheus scrapes gateways, workers and the console")


def check_console(installed):
    """The console takes its password, shows the call, and is reachable from this machine only."""
    lines = (installed.folder / ".env").read_text().splitlines()
    password = dict(line.split("=", 1) for line in lines)["CONSOLE_PASSWORD"]
    curl = [*installed.docker.enter, "curl", "--silent", "--show-error", "--max-time", "10", "--location"]
    jar, console = installed.run.folder / "cookies", "http://127.0.0.1:9082"
    login = ["--cookie-jar", jar, "--cookie", jar, "--header", f"Origin: {console}"]
    login += ["--data-urlencode", f"secret={password}", "--data-urlencode", "next=/calls/conv_engines"]
    expect("the call in the console", "A greeting." in call(*curl, *login, f"{console}/login"), True)
    elsewhere = [*installed.stranger.enter, "curl", "--silent", "--max-time", "10", f"http://{ADDRESS}:9082"]
    expect("the console from another machine", call(*elsewhere, check=False), "")
    installed.run.say("the console shows the call, and only on this machine")


def hang_up(installed):
    """Makes the gateways read their settings again."""
    installed.compose("kill", "--signal", "HUP", *GATEWAYS)


def check_rotation(installed):
    """A secret is replaced without a restart and without a refused webhook, as OPERATIONS.md says."""
    old, new = SECRETS
    before = installed.containers()
    load = installed.provider.load(installed.run, "rotation", 20)
    installed.secrets(old, new)
    hang_up(installed)
    # Caddy sends requests to both gateways in turn.
    fresh = installed.provider.having(secret=new)
    until("both gateways take the new secret", lambda: [fresh.busy(f"n{n}")[0] for n in range(4)] == [200] * 4)
    load.finish("rotation of a secret")
    installed.secrets(new)
    hang_up(installed)
    refused = [(401, "signature_invalid")] * 4
    until("both gateways refuse the old secret", lambda: [installed.provider.busy(f"o{n}") for n in range(4)] == refused)
    installed.provider = fresh
    installed.stranger = installed.stranger.having(secret=new)
    expect("containers", installed.containers(), before)
    installed.run.say("HUP and a new file of settings rotate a secret")


def check_crash_after_hangup(installed):
    """A gateway that got HUP and then crashes is started again."""
    load = installed.provider.load(installed.run, "crash", 20)
    before = int(installed.inspect("ingest-1", "RestartCount"))
    os.kill(int(installed.inspect("ingest-1", "State.Pid")), signal.SIGKILL)
    until("ingest-1 was started again", lambda: int(installed.inspect("ingest-1", "RestartCount")) > before)
    until("ingest-1 is healthy", lambda: installed.inspect("ingest-1", "State.Health.Status") == "healthy")
    # Caddy answers requests that the killed process had open with 502.
    answers = load.finish("a crash after HUP", lost=SENDERS)
    installed.stored(answers, "crash")


def check_broker_outage(installed):
    """Webhooks wait in the spool while the broker is away."""
    load = installed.provider.load(installed.run, "outage", 20)
    installed.compose("stop", "nats")
    time.sleep(BROKER_OUTAGE)
    installed.compose("start", "nats")
    time.sleep(2)
    installed.stored(load.finish(f"NATS stopped for {BROKER_OUTAGE} s"), "outage")


def check_wrong_configuration(installed):
    """An upgrade with a wrong setting names it, and replaces nothing."""
    before = installed.containers()
    settings = installed.settings.read_text().splitlines()
    installed.configure(*settings, "PUBLISH_TIMEOUT=soon")
    said = installed.shell(f"({installed.upgrade}) || echo refused")
    if "refused" not in said or "PUBLISH_TIMEOUT" not in said:
        raise Failure(f"an upgrade with a wrong setting said: {said[-2000:]}")
    expect("containers", installed.containers(), before)
    installed.configure(*settings)
    installed.run.say("an upgrade with a wrong setting names it and replaces nothing")


def check_restarts(installed):
    """Nothing that was not killed ended by itself, also what has no health check."""
    services = ("alertmanager", "caddy", "console", "grafana", "prometheus", *WORKERS)
    restarts = {service: installed.inspect(service, "RestartCount") for service in services}
    expect("restarts", restarts, dict.fromkeys(services, "0"))


def check_rolling_update(installed):
    """Another build replaces all gateways and workers under load."""
    before = installed.containers()
    renew_rust(installed.docker, installed.stand_ins)
    load = installed.provider.load(installed.run, "rolling", RATE)
    time.sleep(2)
    installed.shell(installed.upgrade)
    time.sleep(2)
    answers = load.finish("rolling update")
    kept = set(before) & set(installed.containers())
    expect("containers that were not replaced", kept, set())
    if answers["longest"] > LONGEST_ANSWER:
        raise Failure(f"the longest answer took {answers['longest']:.1f} s")
    installed.stored(answers, "rolling")
