//! `guard`: runs one program and stops it when the guard's parent is gone.
//!
//! The parent holds the write end of the guard's standard input. When the parent closes it or ends, even by SIGKILL, the
//! guard stops the program. The output of the program goes to the guard's standard error, which is a log file. After the
//! start, the guard writes `pid N` to standard output; if it cannot start the program, it writes the reason. The guard exits
//! with the status of the program, or with 128 + N if signal N ended the program.
//!
//! The guard uses only `std` and `nix`: no runtime, no configuration and no threads before the program
//! starts.
//!
//! ```text
//! guard [--grace-ms N] [--hold FILE] [--remove DIR] -- PROGRAM ARGS…
//! ```

use std::{
    ffi::OsString,
    fs::File,
    io::{Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};

/// Exit status if the guard fails, for example because it cannot start the program. A shell uses 127 for a command that is
/// not found.
const FAILED: u8 = 127;

#[derive(Debug, Default)]
struct Options {
    /// Time between SIGTERM and SIGKILL. Zero: SIGKILL at once.
    grace: Duration,
    /// File that the guard locks (shared) until it ends, so that other processes can wait for its end.
    lock_file: Option<PathBuf>,
    /// Folder that the guard removes after it has stopped the program. It is kept if the program ended by itself.
    remove_dir: Option<PathBuf>,
    program: Vec<OsString>,
}

enum Event {
    /// The program ended.
    Ended(std::io::Result<ExitStatus>),
    /// The parent is gone, or a signal tells the guard to stop.
    StopRequested,
}

/// Runs the guard. The first of `args` is its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(args.into_iter().skip(1)).and_then(|options| run(&options)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let _ignored = writeln!(std::io::stdout(), "{error}");
            ExitCode::from(FAILED)
        }
    }
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("guard: {} needs a value", arg.display()));
        match arg.to_str() {
            Some("--grace-ms") => {
                let text = value()?;
                let millis = text.to_str().and_then(|text| text.parse().ok());
                options.grace = Duration::from_millis(
                    millis.ok_or("guard: --grace-ms must be a whole number of milliseconds")?,
                );
            }
            Some("--hold") => options.lock_file = Some(value()?.into()),
            Some("--remove") => options.remove_dir = Some(value()?.into()),
            Some("--") => options.program = args.by_ref().collect(),
            _ => return Err(format!("guard: unknown argument {}", arg.display())),
        }
    }
    if options.program.is_empty() { Err("guard: no program after --".to_owned()) } else { Ok(options) }
}

fn run(options: &Options) -> Result<u8, String> {
    let _held = options.lock_file.as_deref().map(lock).transpose()?;
    let mut child = start(&options.program)?;
    // A signal to the guard has the same effect as the end of the parent. The signals are blocked after the program has
    // started, because the program would inherit the mask. They are blocked before the first thread starts, because a thread
    // that does not wait for them could receive them.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    let blocked = signals.thread_block();
    // The write fails if the parent has ended. The guard then notices that its standard input is closed.
    let _ignored = writeln!(std::io::stdout(), "pid {}", child.id());
    let pid = Pid::from_raw(child.id().cast_signed());
    let (sender, events) = channel();
    watch_parent(&sender, blocked.is_ok().then_some(signals));
    thread::spawn(move || sender.send(Event::Ended(child.wait())));

    let ended = match events.recv() {
        Ok(Event::Ended(status)) => status,
        Ok(Event::StopRequested) | Err(_) => {
            let ended = stop(pid, options.grace, &events);
            if let Some(directory) = &options.remove_dir {
                // A parent that ends normally may have removed the folder already.
                let _ignored = std::fs::remove_dir_all(directory);
            }
            ended
        }
    };
    let status = ended.map_err(|error| format!("guard: cannot wait for the program: {error}"))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(code.try_into().unwrap_or(u8::MAX))
}

fn lock(path: &std::path::Path) -> Result<File, String> {
    let open = || -> std::io::Result<File> {
        let file = File::options().read(true).append(true).create(true).open(path)?;
        file.lock_shared()?;
        Ok(file)
    };
    open().map_err(|error| format!("cannot lock {}: {error}", path.display()))
}

fn start(program: &[OsString]) -> Result<Child, String> {
    let log = || std::io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
    let name = program[0].display();
    let mut command = Command::new(&program[0]);
    command.args(&program[1..]).stdin(Stdio::null());
    command.stdout(log().map_err(|error| format!("guard: {error}"))?);
    command.spawn().map_err(|error| format!("cannot start {name}: {error}"))
}

/// Sends [`Event::StopRequested`] when the parent closes the pipe or ends, or when the guard receives one of `signals`.
fn watch_parent(sender: &Sender<Event>, signals: Option<SigSet>) {
    let (pipe, signal) = (sender.clone(), sender.clone());
    thread::spawn(move || {
        // The parent never writes to the pipe, so the read returns when the pipe is closed.
        let _ignored = std::io::stdin().read(&mut [0]);
        pipe.send(Event::StopRequested)
    });
    if let Some(signals) = signals {
        thread::spawn(move || signals.wait().map(|_| signal.send(Event::StopRequested)));
    }
}

/// Stops the program with SIGTERM, and with SIGKILL after `grace`. Returns its exit status.
fn stop(pid: Pid, grace: Duration, events: &Receiver<Event>) -> std::io::Result<ExitStatus> {
    if !grace.is_zero() {
        // An error means that the program has just ended. The loop below notices that.
        let _ignored = kill(pid, Signal::SIGTERM);
        // A program that was suspended by SIGSTOP has to run to handle SIGTERM.
        let _ignored = kill(pid, Signal::SIGCONT);
        let deadline = std::time::Instant::now() + grace;
        while let Ok(event) =
            events.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now()))
        {
            if let Event::Ended(status) = event {
                return status;
            }
        }
    }
    let _ignored = kill(pid, Signal::SIGKILL);
    loop {
        if let Event::Ended(status) = events.recv().map_err(std::io::Error::other)? {
            return status;
        }
    }
}
