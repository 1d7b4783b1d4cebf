//! Finds the data of a person, asks for confirmation, erases it, prints the result.

use aftercall_common::contract::streams::WEBHOOK_BODIES;
use anyhow::{anyhow, bail, ensure};

use super::{erase, options::Options, person::Person, search, traces::Traces};
use crate::{
    Context,
    commands::{print_line, terminal},
};

/// Erases the person that `options` select.
pub async fn run(context: &Context, options: &Options) -> anyhow::Result<()> {
    let mut person = match (&options.to_number, &options.call_id) {
        (Some(number), _) => Person::with_number(number, options.national, options.mentions)
            .map_err(|problem| anyhow!("--to-number {problem}"))?,
        (None, id) => Person::with_id(id.as_deref().unwrap_or_default()),
    };
    let mut traces = search::find(context, &mut person).await?;
    if !options.dry_run && !options.yes && !is_confirmed(context, &mut person, &mut traces).await? {
        bail!("not confirmed: nothing was erased");
    }
    let erased = !options.dry_run && !traces.is_empty();
    if erased {
        erase::erase(context, &mut person, &mut traces).await?;
    }
    print(&traces, erased, options.json)?;
    ensure!(
        traces.unsearched.is_empty(),
        "{WEBHOOK_BODIES} did not return the bodies of {} messages, so they were not searched (the first is {}); run \
         the command again",
        traces.unsearched.len(),
        traces.unsearched[0]
    );
    Ok(())
}

fn print(traces: &Traces, erased: bool, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_line(traces.json(erased));
    }
    if !traces.is_empty() {
        print_line(traces.summary(erased))?;
    } else if traces.unsearched.is_empty() {
        print_line("no data of this person is stored")?;
    }
    if traces.mentions.is_empty() {
        return Ok(());
    }
    print_line(format!("{}; --mentions erases them too", traces.mention_summary()))
}

/// Asks whether to erase the data of the person, and then whether to erase calls that only mention the
/// number.
async fn is_confirmed(context: &Context, person: &mut Person, traces: &mut Traces) -> anyhow::Result<bool> {
    if !traces.is_empty() {
        let (documents, messages) = (traces.documents, traces.messages());
        let action = format!("Erase {documents} documents and {messages} messages permanently");
        if !terminal::is_confirmed(&action)? {
            return Ok(false);
        }
    }
    if !traces.mentions.is_empty() {
        let action = format!("{}. Erase them too", traces.mention_summary());
        if terminal::is_confirmed(&action)? {
            *person = std::mem::take(person).and_mentions();
            *traces = search::find(context, person).await?;
        }
    }
    Ok(true)
}
