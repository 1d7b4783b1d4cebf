"""The stage `package`: the Debian package on a machine without Rust, and the first webhook from the tarball."""

import json
import os
import socket
import time
import urllib.request

import supplies
from host import REPOSITORY, Failure, Run, call, expect, until

# From the unpacked tarball to the first webhook in the database, downloads of the servers included.
LONGEST_START = 120
WEBHOOK = {"event_type": "call.busy", "call_id": "from-the-package"}


def stage():
    """Packages the debug binaries, and installs what was packed."""
    with Run("package") as run:
        supplies.packages("debhelper", "fakeroot", "dpkg-dev", "binutils")
        packed = REPOSITORY / "target/package"
        call(REPOSITORY / "deploy/package/build", "--binaries", "target/debug", "tarball", "deb", timeout=600)
        run.say("the tarball and the Debian package are packed")
        check_debian_package(run, newest(packed, "aftercall_*.deb"))
        check_tarball(run, newest(packed, "aftercall-*-linux-*.tar.gz"))


def newest(folder, pattern):
    """The newest file of a pattern."""
    found = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime)
    if not found:
        raise Failure(f"deploy/package/build made no {pattern}")
    return found[-1]


def check_debian_package(run, package):
    """Installs the package in a Debian system, and removes it."""
    root = run.disk / "root"
    call("cp", "--archive", "--reflink=auto", supplies.base_system(), root)
    call("cp", package, root / "root/aftercall.deb")

    def inside(*command):
        return call("chroot", root, *command).strip()

    inside("dpkg", "--install", "/root/aftercall.deb")
    version = package.name.split("_")[1]
    for program in ("aftercall", "aftercall-ingest", "aftercall-worker"):
        expect(f"version of {program}", inside(program, "--version").split()[-1], version)
    expect("the folder of the configuration", inside("stat", "--format=%U:%G %a", "/etc/aftercall"), "root:aftercall 750")
    units = ["aftercall-ingest.socket", "aftercall-ingest@.service", "aftercall-worker@.service"]
    for unit in units:
        text = (root / "usr/lib/systemd/system" / unit).read_text()
        expect(f"programs of {unit} outside of the package", "/usr/local/bin/" in text, False)
    enabled = inside("find", "/etc/systemd/system", "-name", "aftercall*")
    expect("units that are enabled before the configuration", enabled, "")
    expect("changed files", inside("dpkg", "--verify", "aftercall"), "")
    inside("dpkg", "--purge", "aftercall")
    expect("files after the removal", inside("find", "/usr", "/etc", "-name", "aftercall*", "-not", "-name", "*.conf"), "")
    run.say("the Debian package installs, and leaves nothing behind")


def check_tarball(run, tarball):
    """Starts everything from the tarball as a newcomer does, and stores a webhook."""
    began = time.monotonic()
    folder = run.disk / "unpacked"
    folder.mkdir()
    call("tar", "--extract", f"--file={tarball}", f"--directory={folder}", "--strip-components=1")
    ports = free_ports(4)
    names = ("listen", "gateway-admin", "worker-admin", "console")
    addresses = [part for name, port in zip(names, ports) for part in (f"--{name}", f"127.0.0.1:{port}")]
    # The settings of pip may name the package index that this machine can reach.
    kept = ("PATH", "PIP_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")
    environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    environment |= {"HOME": os.environ.get("HOME", "/root"), "XDG_DATA_HOME": str(run.disk / "data")}
    environment["PATH"] = without_servers(environment["PATH"])
    program = folder / "bin/aftercall"
    up = run.start("up", program, "local", "up", *addresses, env=environment)

    def is_ready():
        if up.poll() is not None:
            raise Failure(f"`aftercall local up` ended early: {run.log('up')}")
        return "Aftercall is ready" in run.log("up", 20_000)

    until("everything runs", is_ready, timeout=LONGEST_START)
    gateway = f"http://127.0.0.1:{ports[0]}/api"
    expect("the answer to a webhook", post(f"{gateway}/webhooks/elevenlabs/call-status", WEBHOOK)["accepted"], True)
    ask = {"callSid": WEBHOOK["call_id"]}
    found = until("the call is in the database", lambda: post(f"{gateway}/agent-calls/status", ask), timeout=20)
    expect("the status of the call", found["status"], "busy")
    took = time.monotonic() - began
    run.say(f"from the tarball to the first webhook in the database: {took:.0f} s, downloads included")
    if took > LONGEST_START:
        raise Failure(f"the first webhook took {took:.0f} s, allowed are {LONGEST_START} s")


def without_servers(path):
    """Folders of programs without those that hold the servers or a compiler, as on a newcomer's machine."""
    unwanted = ("nats-server", "mongod", "cargo")
    folders = path.split(":")
    return ":".join(folder for folder in folders if not any(os.path.exists(f"{folder}/{name}") for name in unwanted))


def free_ports(count):
    """Ports that nobody uses at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def post(url, body):
    """Posts JSON, and returns the answer. Nothing: it was an error."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None
