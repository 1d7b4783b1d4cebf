//! Commands that work once and end: what they need, and what they print.

use std::{io::IsTerminal as _, time::Duration};

use aftercall_common::{broker, shutdown, stream};
use anyhow::{Context as _, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::{
    Config, Context, Metrics,
    call::Status,
    clock::rfc3339,
    dead_letters,
    elevenlabs::{ConversationStatus, ElevenLabs},
    forget,
    reconcile::{self, Finding, Report, Window},
    register, replay, report,
    store::Store,
};

/// Longest a command waits for the broker.
const CONNECT: Duration = Duration::from_secs(10);

/// What `reconcile` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Reconcile {
    /// Conversations that began from then on: RFC 3339, or how long ago [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Conversations that began until then [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Print what would be published, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// `2026-11-24T08:00:00Z`, or `24h`: so long ago.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let ago =
        humantime_serde::re::humantime::parse_duration(text).ok().and_then(|ago| now.checked_sub(ago).ok());
    ago.or_else(|| text.parse().ok())
        .ok_or_else(|| "must be like 2026-11-24T08:00:00Z, or like 24h".to_owned())
}

fn api(config: &Config, metrics: Metrics) -> anyhow::Result<ElevenLabs> {
    crate::install_tls();
    ElevenLabs::new(config, metrics)?.context("ELEVENLABS_API_KEY is not set")
}

/// `aftercall-worker register`.
pub async fn register(config: Config, options: &register::Options) -> anyhow::Result<()> {
    let url = config.elevenlabs_status_callback_url.clone();
    let url = url.context("ELEVENLABS_STATUS_CALLBACK_URL is not set: where shall webhooks go?")?;
    let api = api(&config, Metrics::register(&mut Registry::default()))?;
    Ok(register::run(&api, url.as_str(), options).await?)
}

/// `aftercall-worker reconcile`.
pub async fn reconcile(config: Config, options: &Reconcile) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    let now = Timestamp::now();
    let window = Window {
        since: options.since.unwrap_or_else(|| reconcile::default_since(now)),
        until: options.until.unwrap_or(now),
        rate: config.reconcile_rate,
        dry_run: options.dry_run,
    };
    ensure!(window.since < window.until, "--since must be before --until");
    let (context, api) = Context::connect(config, &mut Registry::default()).await?;
    let api = api.context("ELEVENLABS_API_KEY is not set")?;
    connected(&context).await?;
    let bar = spinner();
    let progress = |report: &Report| {
        bar.set_message(format!("{} conversations, {} to make up for", report.seen, report.findings.len()));
        bar.tick();
    };
    let outcome = reconcile::pass(&context, &api, window, &stop, progress).await;
    bar.finish_and_clear();
    let report = outcome?;
    if options.json {
        print_line(as_json(&report, window))?;
    } else {
        print_line(table(&report, window).trim_end())?;
    }
    context.store.clone().shutdown().await;
    Ok(())
}

/// `aftercall-worker dead-letters`.
pub async fn dead_letters(config: Config, command: &dead_letters::Command) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connected(&context).await?;
    dead_letters::run(&context, command).await
}

/// `aftercall-worker replay`.
pub async fn replay(config: Config, options: &replay::Options) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connected(&context).await?;
    let ended = replay::run(&context, options).await;
    context.store.clone().shutdown().await;
    ended
}

/// `aftercall-worker report`. The broker is not asked.
pub async fn report(config: Config, options: &report::Options) -> anyhow::Result<()> {
    crate::install_tls();
    let store = Store::new(&config, Metrics::register(&mut Registry::default())).await?;
    let ended = report::run(&store, options, config.console_show_numbers).await;
    store.shutdown().await;
    ended
}

/// `aftercall-worker forget`.
pub async fn forget(config: Config, options: &forget::Options) -> anyhow::Result<()> {
    let (context, _) = Context::connect(config, &mut Registry::default()).await?;
    connected(&context).await?;
    let ended = forget::run(&context, options).await;
    context.store.clone().shutdown().await;
    ended
}

/// A command does not wait for a broker as a service does. The streams are there afterwards.
async fn connected(context: &Context) -> anyhow::Result<()> {
    let connected = async {
        while !broker::is_connected(&context.nats) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(CONNECT, connected).await;
    waited.map_err(|_elapsed| anyhow::anyhow!("NATS does not answer at {}", context.config.nats_url))?;
    Ok(stream::ensure(&context.jetstream, context.config.stream_replicas.get()).await?)
}

/// Prints a line. Whoever reads may have read enough: that is an error here, and none to the user.
pub(crate) fn print_line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Asks whoever sits at the terminal whether to do `what`.
pub(crate) fn is_confirmed(what: &str) -> anyhow::Result<bool> {
    use std::io::{BufRead as _, Write as _};
    ensure!(std::io::stdin().is_terminal(), "nobody is there to confirm; --yes does it without asking");
    eprint!("{what}? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Shows progress of what has no known end, on a terminal.
fn spinner() -> ProgressBar {
    ProgressBar::with_draw_target(None, target()).with_style(style("{spinner} {msg}  {elapsed}"))
}

/// Shows progress through `length` things, on a terminal.
pub(crate) fn bar(length: usize) -> ProgressBar {
    let style = style("{wide_bar} {pos}/{len}  {per_sec}  {elapsed}");
    ProgressBar::with_draw_target(Some(length as u64), target()).with_style(style)
}

fn target() -> ProgressDrawTarget {
    let is_terminal = std::io::stderr().is_terminal();
    if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}

fn table(report: &Report, window: Window) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let mut line = |cells: [&str; 5]| {
        let [conversation, reason, here, there, event] = cells;
        writeln!(text, "{conversation:<36} {reason:<10} {here:<18} {there:<12} {event}")
            .expect("a String takes all");
    };
    if !report.findings.is_empty() || !report.unusable.is_empty() {
        line(["CONVERSATION", "REASON", "HERE", "THERE", "EVENT"]);
    }
    for finding in &report.findings {
        let (here, there) = states(finding);
        line([finding.conversation.as_str(), finding.reason.as_str(), here, there, finding.event]);
    }
    for unusable in &report.unusable {
        let (conversation, reason) = (unusable.conversation.as_str(), unusable.reason.as_str());
        line([conversation, reason, "-", "-", &format!("cannot be used: {}", unusable.error)]);
    }
    let done = if window.dry_run { "would be published" } else { "published" };
    writeln!(
        text,
        "{} conversations since {:.0}, {} events {done}, {} cannot be used, {} placements given up",
        report.seen,
        window.since,
        report.findings.len(),
        report.unusable.len(),
        report.given_up,
    )
    .expect("a String takes all");
    text
}

fn states(finding: &Finding) -> (&'static str, &'static str) {
    (finding.here.map_or("-", |status| status.as_str()), finding.there.map_or("-", |status| status.as_str()))
}

fn as_json(report: &Report, window: Window) -> serde_json::Value {
    let findings = report.findings.iter().map(|finding| {
        let (here, there) = (finding.here.map(Status::as_str), finding.there.map(ConversationStatus::as_str));
        json!({
            "conversationId": finding.conversation.as_str(), "reason": finding.reason.as_str(),
            "here": here, "there": there, "event": finding.event,
        })
    });
    let unusable = report.unusable.iter().map(|unusable| {
        json!({
            "conversationId": unusable.conversation.as_str(), "reason": unusable.reason.as_str(),
            "error": unusable.error,
        })
    });
    json!({
        "since": rfc3339(window.since), "until": rfc3339(window.until), "dryRun": window.dry_run,
        "conversations": report.seen, "events": findings.collect::<Vec<_>>(),
        "unusable": unusable.collect::<Vec<_>>(), "placementsGivenUp": report.given_up,
    })
}
