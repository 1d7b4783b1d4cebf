"""Commands, background processes, folders and network namespaces. All of them end with the run."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Downloads and the base system. They are kept for the next run.
CACHE = REPOSITORY / "target" / "engines"
# Size of the file system in memory, with images and volumes. About half of it is used.
MEMORY_GIB = 6


class Failure(Exception):
    """A check that failed, or a command that failed or took too long."""


class Unavailable(Exception):
    """The machine cannot run an engine. The stage is skipped."""


def call(*command, timeout=120, check=True, **options):
    """Runs a command, and returns its standard output and standard error."""
    command = [str(part) for part in command]
    options.setdefault("stdin", subprocess.DEVNULL)
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **options
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{' '.join(command)[:200]}: no end within {timeout} s\n{error.output or ''}") from None
    if check and done.returncode != 0:
        raise Failure(f"{' '.join(command)[:200]}: exit status {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def until(what, probe, timeout=60, interval=0.2):
    """Waits until `probe` returns something, and returns it."""
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failure(f"did not happen within {timeout} s: {what}")
        time.sleep(interval)


def expect(what, found, wanted):
    """Fails unless `found` is `wanted`."""
    if found != wanted:
        raise Failure(f"{what}: {found!r}, expected {wanted!r}")


def end(process, grace=20):
    """Ends a process that this run started: SIGTERM, then SIGKILL."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def remove_tree(folder):
    """Removes a folder, after everything that is mounted below it."""
    mounts = Path("/proc/self/mounts").read_text().split("\n")
    below = [line.split()[1] for line in mounts if line and line.split()[1].startswith(f"{folder}/")]
    for mount in reversed(below):
        call("umount", "--lazy", mount, check=False)
    shutil.rmtree(folder, ignore_errors=True)


class Run(contextlib.ExitStack):
    """Everything that a stage starts. Leaving it ends all of it, in reverse order."""

    def __init__(self, name):
        super().__init__()
        self.name = f"aftercall-{name}-{os.getpid()}"
        # Short, because the paths of sockets have at most 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        # In memory: to remove a hundred thousand files of images from a disk takes minutes.
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.callback(remove_tree, self.folder)
        call("mount", "-t", "tmpfs", "-o", f"size={MEMORY_GIB}G,mode=755", "tmpfs", self.disk)
        self.began = time.monotonic()

    def say(self, text):
        """Prints a step with the time since the start of the stage."""
        print(f"   {time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def start(self, name, *command, grace=20, **options):
        """Starts a process. Its output goes to a file, whose end a failure shows."""
        log = (self.folder / f"{name}.log").open("ab")
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=options.pop("stdout", log),
            stderr=log,
            # Ctrl-C reaches this program only, which ends the others in order.
            start_new_session=True,
            **options,
        )
        self.callback(end, process, grace)
        return process

    def log(self, name, size=3000):
        """The end of the output of a process."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-size:]

    def namespace(self, name):
        """Makes a network namespace, and returns its name."""
        name = f"{self.name}-{name}"
        call("ip", "netns", "add", name)
        self.callback(call, "ip", "netns", "delete", name, check=False)
        call("ip", "-netns", name, "link", "set", "lo", "up")
        return name

    def checkout(self):
        """A copy of the files of the repository, with changes that are not committed."""
        folder = self.disk / "checkout"
        folder.mkdir()
        listed = ["git", "-C", REPOSITORY, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, stdout=subprocess.PIPE, check=True).stdout.split(b"\0")
        present = [name for name in names if name and os.path.lexists(os.path.join(os.fsencode(REPOSITORY), name))]
        copy = ["tar", "--create", f"--directory={REPOSITORY}", "--null", "--files-from=-"]
        packed = subprocess.run(copy, input=b"\0".join(present), stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "--extract", f"--directory={folder}"], input=packed, check=True)
        return folder


def interrupt(*_):
    """SIGTERM ends the run as Ctrl-C does."""
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, interrupt)
