//! Messages that may have killed a worker.
//!
//! A message that was delivered several times and never acknowledged met outages, or kills whatever works on it. The
//! broker's count does not tell which. So a suspect is worked on while nothing else is, and this is recorded in the
//! database before: a record that still exists later means that a process
//! ended while it worked on the message.
//!
//! Invariants: an outage leaves no record, however long it lasts and however often a message is delivered meanwhile,
//! because a record is removed whenever the work ends in any way but with the process. A message becomes a dead
//! letter only when the process ended [`MAX_ATTEMPTS`] times while it, at last alone, was worked on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aftercall_common::contract::streams::consumer;
use tokio_util::sync::CancellationToken;

use super::{
    batch::{at_work, work},
    buffer::{Batch, Desk},
    parse::open,
    weight::Weight,
};
use crate::{
    broker::message::Stored, dead_letters::give_up, domain::cause::Cause, ports::Outside, store::StoreError,
};

/// Deliveries from which on a message is a suspect.
const SUSPECT: i64 = 4;
/// Attempts that did not end after which a message is a dead letter.
const MAX_ATTEMPTS: u32 = 5;
/// Pauses between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How a suspect is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// Together with other suspects that no process ended with: most met an outage.
    Together,
    /// With nothing else in the process.
    Alone,
    /// Not at all.
    DeadLetter,
}

/// Whether a message that was `delivered` so often is worked on apart from the others.
pub(super) fn is_suspect(delivered: i64) -> bool {
    delivered >= SUSPECT
}

/// What to do with a suspect after so many `attempts` that did not end.
fn treatment(attempts: u32, heavy: bool) -> Treatment {
    match attempts {
        0 if !heavy => Treatment::Together,
        attempts if attempts < MAX_ATTEMPTS => Treatment::Alone,
        _ => Treatment::DeadLetter,
    }
}

/// The name of a message in the records: the id of its webhook, which is the same for the same bytes.
fn name(message: &impl Stored) -> String {
    message.envelope().map(|envelope| envelope.id).unwrap_or_default()
}

/// Works on `suspects` while nothing else is. Gives back what is not acknowledged because the process stops.
pub(super) async fn process<O: Outside>(
    outside: Arc<O>,
    mut suspects: VecDeque<O::Message>,
    stop: CancellationToken,
) -> Vec<O::Message> {
    let outside = &*outside;
    let names: Vec<_> = suspects.iter().map(name).collect();
    let asking = until_done(outside, &stop, || outside.attempts(&names));
    let Some(attempts) = at_work(outside, || suspects.iter(), asking).await else { return suspects.into() };
    let (mut together, mut alone) = (VecDeque::new(), VecDeque::new());
    for attempts in attempts {
        let Some(message) = suspects.pop_front() else { break };
        let heavy = message.object().is_some() || Weight::of(&message.payload()).is_heavy();
        match treatment(attempts, heavy) {
            Treatment::Together => together.push_back(message),
            Treatment::Alone => alone.push_back((message, attempts)),
            Treatment::DeadLetter => {
                let detail =
                    format!("the worker ended {attempts} times while it worked on this message alone");
                let cause = Cause { label: "kills_the_worker", detail };
                give_up(outside, consumer::STATUS, &message, &cause).await;
                forget(outside, &[name(&message)], &stop).await;
            }
        }
    }
    let waiting = || alone.iter().map(|(message, _)| message);
    let mut unsettled = at_work(outside, waiting, process_group(outside, together, &stop)).await;
    while let Some((message, attempts)) = alone.pop_front() {
        let waiting = || alone.iter().map(|(message, _)| message);
        unsettled.extend(at_work(outside, waiting, process_one(outside, message, attempts, &stop)).await);
    }
    unsettled
}

/// Works on light messages that no process ended with so far.
async fn process_group<O: Outside>(
    outside: &O,
    mut group: VecDeque<O::Message>,
    stop: &CancellationToken,
) -> Vec<O::Message> {
    let names: Vec<_> = group.iter().map(name).collect();
    if names.is_empty() || stop.is_cancelled() {
        return group.into();
    }
    let begin = until_done(outside, stop, || outside.begin_attempt(&names, 1));
    if at_work(outside, || group.iter(), begin).await.is_none() {
        return group.into();
    }
    let (mut desk, mut unsettled) = (Desk::default(), Vec::new());
    loop {
        while desk.has_room()
            && let Some(message) = group.pop_front()
        {
            let body = message.payload();
            let read = super::parse::read(&message, &body);
            desk.take_in(message, read, Weight::of(&body));
        }
        let Some(batch) = desk.next() else { break };
        unsettled.extend(process_batch(outside, &mut desk, batch, &group, stop).await);
    }
    forget(outside, &names, stop).await;
    unsettled
}

/// Works on one message, with nothing else in the process.
async fn process_one<O: Outside>(
    outside: &O,
    message: O::Message,
    attempts: u32,
    stop: &CancellationToken,
) -> Vec<O::Message> {
    let names = [name(&message)];
    let begin = until_done(outside, stop, || outside.begin_attempt(&names, attempts + 1));
    let one = || std::iter::once(&message);
    if stop.is_cancelled() || at_work(outside, one, begin).await.is_none() {
        return vec![message];
    }
    tracing::info!(
        event_id = names[0],
        delivered = message.delivered(),
        attempts,
        "a webhook that was delivered often and never acknowledged is worked on alone"
    );
    let opened = at_work(outside, one, open(outside, &message)).await;
    let unsettled = match opened {
        Ok((read, weight)) => {
            let mut desk = Desk::default();
            desk.take_in(message, read, weight);
            match desk.next() {
                Some(batch) => process_batch(outside, &mut desk, batch, &VecDeque::new(), stop).await,
                None => Vec::new(),
            }
        }
        Err(why) => {
            super::read_later(outside, &message, &why).await;
            Vec::new()
        }
    };
    forget(outside, &names, stop).await;
    unsettled
}

/// Writes a batch while the rest of the group waits.
async fn process_batch<O: Outside>(
    outside: &O,
    desk: &mut Desk<O::Message>,
    mut batch: Batch<O::Message>,
    waiting: &VecDeque<O::Message>,
    stop: &CancellationToken,
) -> Vec<O::Message> {
    let busy = batch.busy();
    let held: &Desk<O::Message> = desk;
    let rest = || held.messages().chain(waiting);
    let unsettled = at_work(outside, rest, work(outside, batch, stop)).await;
    desk.done(busy);
    unsettled
}

/// Removes the records of messages whose work has ended. Where the process stops while the database is away they stay,
/// and count as one attempt.
async fn forget<O: Outside>(outside: &O, names: &[String], stop: &CancellationToken) {
    if until_done(outside, stop, || outside.end_attempt(names)).await.is_none() {
        tracing::warn!(webhooks = names.len(), "the records of suspect webhooks stay until they come again");
    }
}

/// Repeats `action` until the database does it; `None` where the process stops first.
async fn until_done<T, F: Future<Output = Result<T, StoreError>>>(
    outside: &impl Outside,
    stop: &CancellationToken,
    action: impl Fn() -> F,
) -> Option<T> {
    let mut pauses = outside.pauses(RETRY.0, RETRY.1);
    loop {
        match action().await {
            Ok(done) => return Some(done),
            Err(error) => tracing::warn!(%error, "the record of suspect webhooks; trying again"),
        }
        if !pauses.sleep(stop).await {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_ends_again_and_again_makes_a_dead_letter() {
        #[rustfmt::skip]
        let table = [
            // attempts, heavy, treatment
            (0, false, Treatment::Together),
            (0, true,  Treatment::Alone),
            (1, false, Treatment::Alone),
            (4, true,  Treatment::Alone),
            (5, false, Treatment::DeadLetter),
            (5, true,  Treatment::DeadLetter),
            (9, false, Treatment::DeadLetter),
        ];
        for (attempts, heavy, expected) in table {
            assert_eq!(treatment(attempts, heavy), expected, "{attempts} attempts, heavy: {heavy}");
        }
        assert_eq!([0, 1, 3, 4, 100].map(is_suspect), [false, false, false, true, true]);
    }
}
