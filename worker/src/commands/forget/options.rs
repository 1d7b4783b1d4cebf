//! Arguments of `aftercall-worker forget`.

/// The person to erase, and how.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub struct Options {
    /// The person with this telephone number, as caller or callee
    #[arg(
        long,
        visible_alias = "number",
        value_name = "NUMBER",
        required_unless_present = "call_id",
        conflicts_with = "call_id"
    )]
    pub(super) to_number: Option<String>,
    /// Also find the number without its country or area code: its last seven digits or more
    #[arg(long, requires = "to_number")]
    pub(super) national: bool,
    /// Also erase the calls of other people that only mention the number
    #[arg(long, requires = "to_number")]
    pub(super) mentions: bool,
    /// The person in this call or conversation
    #[arg(long, value_name = "ID")]
    pub(super) call_id: Option<String>,
    /// Print what would be erased, and erase nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    pub(super) yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}
