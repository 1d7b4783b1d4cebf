//! Finds the data of a person, asks for confirmation, erases it, prints the result.

use anyhow::{anyhow, bail};

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
        erase::erase(context, &person, &mut traces).await?;
    }
    if options.json {
        return print_line(traces.json(erased));
    }
    if traces.is_empty() {
        print_line("no data of this person is stored")?;
    } else {
        print_line(traces.summary(erased))?;
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
