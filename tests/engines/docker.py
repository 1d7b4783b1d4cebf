"""A Docker daemon in a network namespace of its own, and stand-ins for images of public registries."""

import os
import shutil
import subprocess
from pathlib import Path

import supplies
from host import Failure, Unavailable, call, until

# Address of the machine that runs Docker, for its clients (RFC 5737).
ADDRESS = "192.0.2.1"


class Docker:
    """The daemon, and the environment in which its commands run."""

    def __init__(self, run):
        supplies.packages("docker.io", "iptables", "iproute2")
        self.run = run
        self.network = run.namespace("docker")
        # Not `ip netns exec`, which hides the control groups.
        self.enter = ["nsenter", f"--net=/run/netns/{self.network}"]
        self.environment = self.prepare()
        self.start()

    def prepare(self):
        """The environment of commands: the socket of the daemon, and `docker` with its plugin on the PATH."""
        folder = self.run.folder
        plugins = folder / "config/cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(supplies.compose_plugin())
        programs = folder / "bin"
        programs.mkdir()
        (programs / "docker").symlink_to("/usr/bin/docker")
        kept = {name: os.environ[name] for name in ("LANG", "TERM") if name in os.environ}
        return kept | {
            "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "config"),
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_BUILDKIT": "1",
        }

    def start(self):
        """Starts the daemon. Its data are in memory, and are removed with the run."""
        folder = self.run.folder
        options = [f"--data-root={self.run.disk}/docker", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
        options += [f"--host=unix://{folder}/docker.sock", "--bip=172.31.250.1/24"]
        daemon = self.run.start("dockerd", *self.enter, "/usr/sbin/dockerd", *options, grace=60)
        self.run.callback(self.stop_containers)

        def is_up():
            if daemon.poll() is not None:
                raise Unavailable(f"dockerd does not run here: {self.run.log('dockerd', 600)}")
            return "Server Version" in self.docker("info", check=False)

        until("dockerd answers", is_up)

    def stop_containers(self):
        """Ends all containers, so that the daemon ends quickly."""
        self.run.say("stopping the containers")
        running = self.docker("ps", "--quiet", check=False).split()
        if running:
            self.docker("rm", "--force", *running, check=False)

    def docker(self, *arguments, timeout=300, **options):
        """Runs a command of Docker."""
        return call("docker", *arguments, env=self.environment, timeout=timeout, **options)

    def client(self, name, address):
        """Makes a machine with one address, from which the machine of Docker can be reached."""
        client = self.run.namespace(name)
        call("ip", "link", "add", "eth0", "netns", client, "type", "veth", "peer", "name", name, "netns", self.network)
        for network, link, own, peer in ((client, "eth0", address, ADDRESS), (self.network, name, ADDRESS, address)):
            call("ip", "-netns", network, "address", "add", f"{own}/32", "dev", link)
            call("ip", "-netns", network, "link", "set", link, "up")
            call("ip", "-netns", network, "route", "add", f"{peer}/32", "dev", link)
        return ["nsenter", f"--net=/run/netns/{client}"]


def build_stand_ins(docker, finished):
    """Builds images with the names of the public ones. All but `rust` hold the real programs."""
    context = docker.run.disk / "images"
    context.mkdir()
    base = supplies.base_system()
    packed = subprocess.Popen(["tar", "--create", f"--directory={base}", "."], stdout=subprocess.PIPE)
    docker.docker("import", "-", "base", stdin=packed.stdout)
    if packed.wait() != 0:
        raise Failure("the base system cannot be packed")
    supplies.packages("prometheus", "prometheus-alertmanager")
    programs = {name: supplies.program(name)[1] for name in ("nats-server", "mongod", "caddy", "node")}
    programs |= {"prometheus": "/usr/bin/prometheus", "alertmanager": "/usr/bin/prometheus-alertmanager"}
    for name, path in programs.items():
        shutil.copy(path, context / name)
    shutil.copytree("/usr/share/prometheus/alertmanager", context / "alertmanager-templates")
    shutil.copytree(supplies.mongosh() / "node_modules", context / "mongosh", symlinks=True)
    shutil.copytree(Path(__file__).with_name("images"), context, dirs_exist_ok=True)
    shutil.copytree(finished, context / "finished")
    supplies.stand_in_cargo(context / "cargo", "/opt/finished")
    for file in sorted(context.glob("*.Dockerfile")):
        image = file.read_text().split("\n")[0].removeprefix("# ")
        docker.docker("build", "--quiet", "--tag", image, "--file", file, context)
    return context


def renew_rust(docker, context):
    """Builds the stand-in of `rust` again, with binaries that differ from those before."""
    for binary in (context / "finished").iterdir():
        with binary.open("ab") as file:
            file.write(b"\nanother build")
    file = context / "rust.Dockerfile"
    docker.docker("build", "--quiet", "--tag", file.read_text().split("\n")[0].removeprefix("# "), "--file", file, context)
