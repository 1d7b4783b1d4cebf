"""A machine that boots systemd, in a container of `systemd-nspawn`."""

import shutil

import supplies
from host import Unavailable, call, until

# What the machine runs beside Aftercall: broker and database, as on a small host.
SERVICES = {
    "nats-server": "/usr/local/bin/nats-server --config /etc/nats/nats.conf",
    "mongod": "/usr/local/bin/mongod --replSet aftercall --bind_ip 127.0.0.1 --dbpath /var/lib/mongodb --quiet --logpath /dev/null",
}
UNIT = """[Service]
ExecStart={command}
Environment=NATS_GATEWAY_PASSWORD=p1 NATS_WORKER_PASSWORD=p2 NATS_OPERATOR_PASSWORD=p3
LimitNOFILE=65536
[Install]
WantedBy=multi-user.target
"""


class Machine:
    """The booted machine. Its commands run as root in it."""

    def __init__(self, run):
        supplies.packages("systemd-container", "iproute2", "procps")
        self.run = run
        self.root = run.disk / "root"
        call("cp", "--archive", "--reflink=auto", supplies.base_system(), self.root)
        for name in SERVICES:
            shutil.copy(supplies.program(name)[1], self.root / "usr/local/bin" / name)
            unit = self.root / f"etc/systemd/system/{name}.service"
            unit.write_text(UNIT.format(command=SERVICES[name]))
            call("systemctl", f"--root={self.root}", "enable", f"{name}.service")
        (self.root / "var/lib/mongodb").mkdir()
        self.checkout = self.root / "root/aftercall"
        run.checkout().rename(self.checkout)
        shutil.copytree(self.checkout / "deploy/nats", self.root / "etc/nats")
        supplies.binaries(self.root / "opt/finished")
        supplies.stand_in_cargo(self.root / "opt/stand-in/cargo", "/opt/finished")
        self.leader = self.boot()

    def boot(self):
        """Boots, and returns the process id of its systemd."""
        options = ["--quiet", "--boot", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"]
        nspawn = self.run.start(
            "nspawn", "systemd-nspawn", *options, f"--directory={self.root}", f"--machine={self.run.name}", grace=5
        )

        def leader():
            if nspawn.poll() is not None:
                raise Unavailable(f"systemd-nspawn does not run here: {self.run.log('nspawn', 600)}")
            return call("pgrep", "--parent", nspawn.pid, check=False).split()

        self.leader = until("the machine has a first process", leader)[0]

        def is_booted():
            if nspawn.poll() is not None:
                raise Unavailable(f"systemd does not boot here: {self.run.log('nspawn', 600)}")
            return self.shell("systemctl is-system-running", check=False).strip() in ("running", "degraded")

        until("systemd has booted", is_booted, timeout=90, interval=0.5)
        return self.leader

    def enter(self, *namespaces):
        """The command that enters namespaces of the machine."""
        return ["nsenter", f"--target={self.leader}", *(f"--{name}" for name in namespaces), "--"]

    def shell(self, script, folder="/root/aftercall", check=True, timeout=180):
        """Runs lines of a shell in the machine."""
        path = "PATH=/opt/stand-in:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        shell = ["env", f"--chdir={folder}", "--ignore-environment", path, "HOME=/root", "bash", "-euo", "pipefail", "-c"]
        enter = self.enter("mount", "uts", "ipc", "net", "pid")
        return call(*enter, *shell, script, check=check, timeout=timeout)

    def property(self, unit, name):
        """A property of a unit."""
        return self.shell(f"systemctl show --property={name} --value {unit}").strip()
