"""An installation with the shipped Dockerfile and Compose file, made by the commands of deploy/README.md."""

import json
import os

import documentation
import supplies
from client import PROVIDER, STRANGER, Client
from docker import ADDRESS, Docker, build_stand_ins
from host import REPOSITORY, call, expect, until

HEADING = "## One machine, with compose"
# A name for which Caddy makes a certificate of its own.
DOMAIN = "hooks.internal"
GATEWAYS, WORKERS = ("ingest-1", "ingest-2"), ("worker-1", "worker-2")
SECRETS = ("wsec_first", "wsec_second")
API_TOKEN = "api-token-of-the-engines"


class Compose:
    """The installation, as an operator makes it."""

    def __init__(self, run):
        self.run = run
        self.checkout = run.checkout()
        self.folder = self.checkout / "deploy/compose"
        self.settings = self.folder / "config/aftercall.env"
        self.docker = Docker(run)
        run.say("dockerd runs")
        self.stand_ins = build_stand_ins(self.docker, supplies.binaries(run.disk / "finished"))
        run.say("stand-ins of public images are built")
        # The last block is an example, which needs a workspace at ElevenLabs.
        self.prepare, self.up, self.upgrade, *_ = documentation.blocks("deploy/README.md", HEADING)
        self.provider = self.stranger = None

    def shell(self, script, folder=None, check=True, timeout=180):
        """Runs lines of documentation."""
        environment = self.docker.environment
        shell = ["bash", "-euo", "pipefail", "-c", script]
        return call(*shell, cwd=folder or self.folder, env=environment, check=check, timeout=timeout)

    def compose(self, *arguments, **options):
        """Runs a command of Compose."""
        return self.docker.docker("compose", *arguments, cwd=self.folder, **options)

    def configure(self, *lines):
        """Puts a new file in the place of the settings, as editors and tools for secrets do."""
        fresh = self.settings.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in lines))
        owner = self.settings.stat()
        os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.chmod(owner.st_mode & 0o777)
        fresh.rename(self.settings)

    def secrets(self, *secrets):
        """Settings with these secrets."""
        self.configure(f"ELEVENLABS_WEBHOOK_SECRET={','.join(secrets)}", f"API_TOKEN={API_TOKEN}")

    def install(self):
        """Follows the documentation from the checkout to a running installation."""
        expect("a placeholder of the domain", self.prepare.count("hooks.example.com"), 1)
        self.shell(self.prepare.replace("hooks.example.com", DOMAIN), self.checkout)
        self.check_that_settings_stay()
        mode = self.settings.stat().st_mode & 0o777
        expect("mode of the settings", oct(mode), oct(0o640))
        self.secrets(SECRETS[0])
        self.run.say("configured")
        self.shell(self.up)
        self.run.say("docker compose up: everything is healthy")
        root = self.run.folder / "root.crt"
        self.compose("cp", "caddy:/data/caddy/pki/authorities/local/root.crt", root)
        settings = {"address": ADDRESS, "port": 443, "domain": DOMAIN, "ca": str(root), "secret": SECRETS[0]}
        self.provider = Client(self.docker.client("provider", PROVIDER), **settings)
        self.stranger = Client(self.docker.client("stranger", STRANGER), **settings)

    def check_that_settings_stay(self):
        """Neither a commit nor a layer of an image may hold passwords and keys."""
        files = ["deploy/compose/.env", "deploy/compose/config/aftercall.env"]
        for file in files:
            call("git", "check-ignore", "--quiet", file, cwd=REPOSITORY)
        context = self.run.disk / "context.Dockerfile"
        context.write_text("FROM base\nCOPY . /context\n")
        self.docker.docker("build", "--quiet", "--tag", "context", "--file", context, self.checkout)
        listed = self.docker.docker("run", "--rm", "context", "find", "/context/deploy/compose", "-type", "f").split()
        expect("the example is in the context", "/context/deploy/compose/aftercall.env.example" in listed, True)
        expect("files of the operator in the context", [file for file in files if f"/context/{file}" in listed], [])

    def database(self, expression):
        """The value of an expression of mongosh, as JSON."""
        script = f"print(EJSON.stringify({expression}))"
        shown = self.compose("exec", "-T", "mongodb", "mongosh", "--quiet", "aftercall", "--eval", script)
        return json.loads(shown.strip().splitlines()[-1])

    def stored(self, answers, prefix):
        """Waits until every webhook that was answered 200 has its document."""
        query = f"db.agent_calls.countDocuments({{callId: /^{prefix}/}})"
        until(f"documents of {prefix}", lambda: self.database(query) == answers["stored"], interval=1)

    def containers(self):
        """The containers of gateways and workers."""
        return self.compose("ps", "--quiet", *GATEWAYS, *WORKERS).split()

    def inspect(self, service, field):
        """A field of the state of a container."""
        container = self.compose("ps", "--all", "--quiet", service).strip()
        return self.docker.docker("inspect", "--format", f"{{{{.{field}}}}}", container).strip()
