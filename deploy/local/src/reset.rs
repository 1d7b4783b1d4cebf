//! `cargo local reset`: removes the data of earlier runs.

use anyhow::Context as _;

use crate::{data_folder::DataFolder, up::DEMO_FILE};

/// The data to remove.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Also remove the downloaded servers
    #[arg(long)]
    all: bool,
}

/// Files and folders that `up` creates in the data folder.
const DATA: [&str; 6] = ["nats", "mongod", "logs", "ports.json", "running.json", DEMO_FILE];
const SERVICES: &str = "services";

/// Removes the data in the folder `data`, and prints the names of the removed files and folders. Fails if the
/// folder is in use.
pub fn run(data: &DataFolder, options: &Options) -> anyhow::Result<()> {
    if !data.root().exists() {
        println!("nothing to remove: {} does not exist", data.root().display());
        return Ok(());
    }
    let _lock = data.acquire()?;
    let mut removed = Vec::new();
    for name in DATA.into_iter().chain(options.all.then_some(SERVICES)) {
        let path = data.path(name);
        let result = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match result {
            Ok(()) => removed.push(name),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }
    match removed.as_slice() {
        [] => println!("nothing to remove in {}", data.root().display()),
        names => println!("removed {} from {}", names.join(", "), data.root().display()),
    }
    Ok(())
}
