//! Arguments of `aftercall-worker register`.

use std::path::PathBuf;

use crate::config::is_id;

/// The webhook to register, and the form of the output.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct Options {
    /// Bind the events of this agent only [default: those of the whole workspace]
    #[arg(long, value_name = "ID", value_parser = agent_id)]
    pub(super) agent: Option<String>,
    /// Name of the webhook, if a new one is created
    #[arg(long, default_value = "Aftercall")]
    pub(super) name: String,
    /// Events to bind; events that are bound already stay bound [default: `ELEVENLABS_EVENTS`]
    #[arg(long, value_delimiter = ',')]
    pub(super) events: Vec<String>,
    /// Header that ElevenLabs adds to the webhooks, as `Name: value`; see `WEBHOOK_HEADER_SECRET`
    #[arg(long, value_name = "HEADER", value_parser = header)]
    pub(super) header: Option<(String, String)>,
    /// Write the secret to this file with mode 0600 [default: `SECRET_FILE`, or print it]
    #[arg(long, value_name = "PATH")]
    pub(super) secret_file: Option<PathBuf>,
    /// Create a new webhook with a new secret, even if there is one
    #[arg(long)]
    pub(super) rotate: bool,
    /// Take the events from another webhook that receives them now, and then receives nothing
    #[arg(long)]
    pub(super) replace: bool,
    /// Forward all webhooks to the webhook that `--replace` takes the events from: adds an endpoint of the kind raw
    #[arg(long, requires = "replace", conflicts_with = "agent")]
    pub(super) forward_displaced: bool,
    /// Print what would be changed, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Options {
    /// Whether webhooks are forwarded to a displaced webhook. This needs broker and database.
    pub fn forwards(&self) -> bool {
        self.forward_displaced && !self.dry_run
    }
}

/// Reads the id of an agent. It becomes a part of a path.
fn agent_id(text: &str) -> Result<String, &'static str> {
    if is_id(text) { Ok(text.to_owned()) } else { Err("must be letters, digits, '_' or '-'") }
}

/// Reads a header.
fn header(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("must be of the form 'Name: value'")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || value.is_empty() {
        return Err("must be of the form 'Name: value'");
    }
    Ok((name.to_owned(), value.to_owned()))
}
