"""The stage `systemd`: the shipped units on a machine that boots systemd, installed as deploy/README.md says."""

import json
import time

import documentation
import supplies
from client import PROVIDER, STRANGER, Client
from host import Failure, Run, call, expect, until
from machine import Machine

HEADING = "## A host, with systemd"
SETTINGS = "/etc/aftercall/aftercall.env"
SECRETS = ("wsec_first", "wsec_second")
RATE = 100
LONGEST_ANSWER = 3.0
# The time after which systemd replaces a gateway that hangs: WatchdogSec, and some for the replacement.
WATCHDOG = 15 + 15


class Host:
    """The installation, as an operator makes it."""

    def __init__(self, run):
        self.run = run
        self.machine = Machine(run)
        run.say("the machine has booted systemd")
        self.install, self.start, self.restart = documentation.blocks("deploy/README.md", HEADING)[:3]
        enter = self.machine.enter("net")
        settings = {"address": "127.0.0.1", "port": 8080, "secret": SECRETS[0]}
        self.provider = Client(enter, source=PROVIDER, **settings)
        self.stranger = Client(enter, source=STRANGER, **settings)

    def follow(self):
        """Follows the documentation to running gateways and workers."""
        shell = self.machine.shell
        # What stands before it: addresses of senders, and a replica set of one member.
        shell(f"ip address add {PROVIDER}/32 dev lo; ip address add {STRANGER}/32 dev lo")
        self.initiate_replica_set()
        shell(self.install)
        self.configure(SECRETS[0])
        shell("echo NATS_URL=nats://gateway:p1@127.0.0.1:4222 > /etc/aftercall/ingest.env")
        shell("echo NATS_URL=nats://worker:p2@127.0.0.1:4222 > /etc/aftercall/worker.env")
        self.run.say("installed and configured")
        shell(self.start)
        self.run.say("both gateways and both workers are ready")

    def configure(self, secrets, *further):
        """Puts a new file in the place of the settings, as editors do."""
        lines = [f"ELEVENLABS_WEBHOOK_SECRET={secrets}", "API_TOKEN=api-token-of-the-engines"]
        lines += ["NATS_MONITOR_URL=http://127.0.0.1:8222", "MONGODB_URI=mongodb://127.0.0.1:27017", *further]
        text = "".join(f"{line}\\n" for line in lines)
        self.machine.shell(f"install -m 640 -g aftercall /dev/null new && printf '{text}' > new && mv new {SETTINGS}")

    def initiate_replica_set(self):
        """Runs rs.initiate() in the database."""
        mongosh = supplies.mongosh() / "node_modules/.bin/mongosh"
        member = "{_id: 'aftercall', members: [{_id: 0, host: '127.0.0.1:27017'}]}"
        script = f"rs.initiate({member}); while (!db.hello().isWritablePrimary) sleep(100)"
        node = supplies.program("node")[1]
        command = [*self.machine.enter("net"), node, mongosh, "--quiet", "--eval", script]
        until("the database is a replica set", lambda: "Error" not in call(*command, check=False), interval=1)

    def status(self, call_id):
        """The stored status of a call."""
        headers = {"Authorization": "Bearer api-token-of-the-engines"}
        text = self.provider.post({"callSid": call_id}, path="/api/agent-calls/status", headers=headers)[2]
        return json.loads(text).get("status")

    def is_ready(self, number):
        """Whether a gateway answers on its admin listener that it is ready."""
        url = f"http://127.0.0.{number}:9080/readyz"
        return '"ready":true' in self.machine.shell(f"curl --silent --max-time 2 {url}", check=False)

    def kill(self, number, signal):
        """Sends a signal to a gateway."""
        self.machine.shell(f"systemctl kill --kill-who=main --signal={signal} aftercall-ingest@{number}")


def stage():
    """Installs, and checks everything below."""
    with Run("systemd") as run:
        host = Host(run)
        try:
            host.follow()
            check_webhooks(host)
            check_reload(host)
            check_quiet_start(host)
            check_wrong_configuration(host)
            check_sequential_posts(host)
            check_rolling_update(host)
            check_kill(host)
            check_watchdog(host)
        except Failure:
            print(host.machine.shell("journalctl --no-pager --lines=60 --output=cat; systemctl --no-pager --failed", check=False))
            raise


def check_webhooks(host):
    """A signed webhook becomes a document, and the documented commands work."""
    expect("a webhook", host.provider.busy("first"), (200, None))
    until("its document", lambda: host.status("first") == "busy")
    expect("a stranger", host.stranger.busy("s1"), (403, "source_not_allowed"))
    expect("a wrong secret", host.provider.busy("s2", secret="wrong"), (401, "signature_invalid"))
    shell = host.machine.shell
    # The gateway reads the settings of the broker after its start.
    synced = 'durability_grade{grade="synced"} 1'
    until("webhooks are synced", lambda: synced in shell("curl -s 127.0.0.1:9080/metrics"))
    report = shell("aftercallctl worker report")
    if "busy" not in report:
        raise Failure(f"aftercallctl worker report said: {report}")
    for command in ("aftercall-ingest --healthcheck", "aftercall-worker healthcheck"):
        said = shell(f"ALLOW_UNSIGNED=true {command}")
        expect(f"{command} asks the right process", ('"spool"' in said, '"mongodb"' in said), ("ingest" in command, "worker" in command))
    host.run.say("a webhook has its document; report and health checks answer")


def check_reload(host):
    """A secret is replaced without a restart."""
    host.configure(",".join(SECRETS))
    host.machine.shell("systemctl reload 'aftercall-ingest@*'")
    fresh = host.provider.having(secret=SECRETS[1])
    until("the new secret is taken", lambda: [fresh.busy(f"n{n}")[0] for n in range(8)] == [200] * 8)
    host.run.say("a reload takes a new secret")


def check_quiet_start(host):
    """The start of a gateway does not block the other one, although nobody connects."""
    host.machine.shell("systemctl restart aftercall-ingest@2")
    expect("a webhook", host.provider.busy("quiet"), (200, None))
    expect("both gateways answer", [host.is_ready(1), host.is_ready(2)], [True, True])


def check_wrong_configuration(host):
    """A wrong configuration is named before anything is restarted, and one wrong gateway harms nobody."""
    shell = host.machine.shell
    before = [host.machine.property(f"aftercall-ingest@{n}", "MainPID") for n in (1, 2)]
    host.configure(SECRETS[0], "PUBLISH_TIMEOUT=soon")
    said = shell(f"({host.restart}) || echo refused")
    if "refused" not in said or "PUBLISH_TIMEOUT" not in said:
        raise Failure(f"a restart with a wrong setting said: {said}")
    expect("processes", [host.machine.property(f"aftercall-ingest@{n}", "MainPID") for n in (1, 2)], before)
    # As if nobody had checked it.
    expect("the restart of gateway 1", shell("systemctl restart aftercall-ingest@1 || echo failed").endswith("failed\n"), True)
    load = host.provider.load(host.run, "wrong", RATE)
    time.sleep(15)
    load.finish("gateway 1 has a wrong configuration")
    expect("gateway 2 answers", host.is_ready(2), True)
    expect("the socket", host.machine.property("aftercall-ingest.socket", "ActiveState"), "active")
    host.configure(SECRETS[0])
    until("gateway 1 starts when its configuration is right", lambda: host.is_ready(1))


def check_sequential_posts(host):
    """Posts one after the other, each with its own connection, while gateways restart."""
    load = host.provider.load(host.run, "sequential")
    for number in (1, 2, 1, 2):
        host.machine.shell(f"systemctl restart aftercall-ingest@{number}")
    load.finish("posts one after the other during restarts")


def check_rolling_update(host):
    """Another build replaces all gateways and workers under load."""
    for name in ("aftercall-ingest", "aftercall-worker"):
        with (host.machine.root / "opt/finished" / name).open("ab") as file:
            file.write(b"\nanother build")
    binaries = "".join(line + "\n" for line in host.install.splitlines() if "target/release" in line or "cargo" in line)
    load = host.provider.load(host.run, "rolling", RATE)
    time.sleep(1)
    host.machine.shell(binaries + host.restart)
    time.sleep(1)
    answers = load.finish("rolling update")
    if answers["longest"] > LONGEST_ANSWER:
        raise Failure(f"the longest answer took {answers['longest']:.1f} s")
    last = f"rolling{answers['stored'] - 1}"
    until("the last document", lambda: host.status(last) == "busy")


def check_kill(host):
    """A gateway that was killed is started again, many times. Only its own open requests are lost."""
    load = host.provider.load(host.run, "kill")
    for _ in range(8):
        host.kill(1, "KILL")
        until("gateway 1 is started again", lambda: host.is_ready(1))
    load.finish("gateway 1 was killed 8 times", lost=8)


def check_watchdog(host):
    """A gateway that hangs is replaced, and meanwhile the other one answers."""
    load = host.provider.load(host.run, "hang")
    host.kill(1, "STOP")
    until("gateway 1 is replaced", lambda: host.is_ready(1), timeout=WATCHDOG)
    load.finish("gateway 1 hung until the watchdog replaced it", lost=1)
    said = host.machine.shell("journalctl --no-pager --unit=aftercall-ingest@1 --grep='[Ww]atchdog'")
    expect("the watchdog", "timeout" in said.lower(), True)
