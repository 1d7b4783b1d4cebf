//! The main loop of ingestion: pulls messages, parses them, and starts the tasks that apply them.
//!
//! Most messages are light: they are parsed here. A heavy message needs much memory (see [`super::Weight`]), so it is
//! parsed in a task of its own. A suspect may have ended a worker process ([`super::suspicion`]), so it is processed while
//! no other task runs.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use aftercall_common::contract::streams::{self, consumer};
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    apply::{apply_batch, log_sums},
    buffer::{Batch, Buffer, Reservation},
    catch_up,
    delivery::{redeliver_unread, report_progress, with_progress},
    inbox::Inbox,
    parse::{self, Opened, read},
    suspects,
};
use crate::{
    Context,
    broker::{
        consumer::{Batches, Pull, Source},
        message::StreamMessage as _,
    },
    ports::Ports,
};

/// Most messages pulled at a time.
const MAX_MESSAGES: usize = 500;
/// Most bytes pulled at a time.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most batches written at a time. MongoDB executes one command on one core, so two keep two cores busy.
const PARALLEL_WRITES: usize = 2;
/// Fewest waiting calls that are written while another write runs. Fewer calls wait until it ends, because a command
/// costs almost as much for one call as for several.
const MIN_CALLS_BESIDE: usize = 16;
/// Duration after which calls no longer wait for the end of a write.
const LONG_WRITE: Duration = Duration::from_millis(20);

/// Runs the role `status` until `stop`, then returns the unacknowledged messages to the broker.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let source = Source {
        stream: streams::WEBHOOKS,
        consumer: consumer::STATUS.to_owned(),
        config: None,
        messages: MAX_MESSAGES,
        bytes: MAX_BYTES,
        replicas: context.config.stream_replicas.get(),
    };
    let mut batches = Batches::new(context.jetstream.clone(), source);
    let applied = CancellationToken::new();
    let served = async {
        let unacknowledged = serve(context.clone(), &mut batches, &stop).await;
        applied.cancel();
        unacknowledged
    };
    let sums = context.successes.sum_up(&applied, log_sums);
    let (unacknowledged, (), ()) = tokio::join!(served, catch_up::run(&context, &stop), sums);
    batches.release(unacknowledged).await;
}

/// Applies the messages that `pull` returns until `stop`. Returns the messages that are not acknowledged.
pub async fn serve<P: Ports>(
    ports: Arc<P>,
    pull: &mut impl Pull<Message = P::Message>,
    stop: &CancellationToken,
) -> Vec<P::Message> {
    let mut consumer = Consumer::new(ports, stop.clone());
    let mut progress = tokio::time::interval(streams::ACK_WAIT / 3);
    loop {
        consumer.start_tasks();
        tokio::select! {
            biased;
            Some(ended) = consumer.writes.join_next() => consumer.finish(ended).await,
            Some(ended) = consumer.heavy.join_next() => consumer.finish(ended).await,
            Some(ended) = consumer.suspects.join_next() => consumer.finish(ended).await,
            () = tokio::time::sleep_until(consumer.last_write + LONG_WRITE), if consumer.is_gathering() => {}
            _ = progress.tick() => consumer.report_progress().await,
            pulled = pull.next(stop), if consumer.has_room() => {
                let Some(messages) = pulled else { break };
                consumer.receive(messages);
            }
            () = stop.cancelled() => break,
        }
    }
    consumer.stop().await
}

/// The result of a task.
enum Finished<M> {
    /// A batch was applied, except for these messages.
    Batch(Reservation, Vec<M>),
    /// A heavy message was read, or its body is not available now. See [`super::inbox`].
    Heavy(M, Box<Opened>),
    /// Suspects were processed, except for these messages.
    Suspects(Vec<M>),
}

/// The messages that this worker holds, and the tasks that work on them.
struct Consumer<P: Ports> {
    ports: Arc<P>,
    stop: CancellationToken,
    inbox: Inbox<P::Message>,
    buffer: Buffer<P::Message>,
    /// Tasks that apply batches, at most [`PARALLEL_WRITES`].
    writes: JoinSet<Finished<P::Message>>,
    /// When the last of them began.
    last_write: Instant,
    /// The task that reads a heavy message, at most one.
    heavy: JoinSet<Finished<P::Message>>,
    /// The task that processes suspects, at most one. No other task runs beside it.
    suspects: JoinSet<Finished<P::Message>>,
    /// Messages that a task returned unprocessed because the process stops.
    unacknowledged: Vec<P::Message>,
}

impl<P: Ports> Consumer<P> {
    fn new(ports: Arc<P>, stop: CancellationToken) -> Self {
        Self {
            ports,
            stop,
            inbox: Inbox::default(),
            buffer: Buffer::default(),
            writes: JoinSet::new(),
            last_write: Instant::now(),
            heavy: JoinSet::new(),
            suspects: JoinSet::new(),
            unacknowledged: Vec::new(),
        }
    }

    /// Whether more messages may be pulled.
    fn has_room(&self) -> bool {
        self.buffer.has_room() && self.inbox.has_room()
    }

    /// Puts pulled messages into the inbox.
    fn receive(&mut self, messages: Vec<P::Message>) {
        for message in messages {
            if message.delivered() > 1 {
                self.ports.metrics().redelivered(consumer::STATUS);
            }
            self.inbox.push(message);
        }
    }

    /// Starts the tasks that can run now. Starts no task once the process stops.
    fn start_tasks(&mut self) {
        if self.stop.is_cancelled() {
            return;
        }
        if self.inbox.has_suspects() || !self.suspects.is_empty() {
            // Suspects wait until no other task runs, and all other messages wait for them.
            if self.writes.is_empty() && self.heavy.is_empty() && self.suspects.is_empty() {
                let suspects = self.inbox.take_suspects();
                self.suspects.spawn(process_suspects(self.ports.clone(), suspects, self.stop.clone()));
            }
            return;
        }
        while self.buffer.has_room()
            && let Some((message, weight)) = self.inbox.pop_light()
        {
            let event = read(&message, &message.payload());
            self.buffer.push(message, event, weight);
        }
        while self.may_write()
            && let Some(batch) = self.buffer.next_batch()
        {
            self.last_write = Instant::now();
            self.writes.spawn(apply(self.ports.clone(), batch, self.stop.clone()));
        }
        if self.heavy.is_empty()
            && self.buffer.has_room_for_heavy()
            && let Some(message) = self.inbox.pop_heavy()
        {
            self.heavy.spawn(open_heavy(self.ports.clone(), message));
        }
    }

    /// Whether the waiting calls may be written now.
    fn may_write(&self) -> bool {
        self.writes.len() < PARALLEL_WRITES && !self.is_gathering()
    }

    /// Whether the waiting calls gather until the running write ends.
    fn is_gathering(&self) -> bool {
        let (calls, has_heavy) = (self.buffer.calls(), self.buffer.has_heavy());
        gathers(self.writes.len(), calls, has_heavy, self.last_write.elapsed())
    }

    /// Takes the result of a task.
    async fn finish(&mut self, ended: Result<Finished<P::Message>, JoinError>) {
        match ended.expect("no task panics or is aborted") {
            Finished::Batch(reservation, messages) => {
                self.buffer.release(reservation);
                self.unacknowledged.extend(messages);
            }
            Finished::Heavy(message, opened) => match *opened {
                Ok((event, weight)) => self.buffer.push(message, event, weight),
                Err(why) => redeliver_unread(&*self.ports, &message, &why).await,
            },
            Finished::Suspects(messages) => self.unacknowledged.extend(messages),
        }
    }

    /// Reports progress on the messages that wait. Each task does so for its own messages.
    async fn report_progress(&self) {
        report_progress(&*self.ports, self.buffer.messages().chain(self.inbox.messages())).await;
    }

    /// Waits for the running tasks. Returns the messages that are not acknowledged.
    async fn stop(mut self) -> Vec<P::Message> {
        let mut unacknowledged = self.unacknowledged;
        unacknowledged.extend(self.buffer.into_messages().chain(self.inbox.into_messages()));
        for tasks in [&mut self.writes, &mut self.heavy, &mut self.suspects] {
            while let Some(ended) = tasks.join_next().await {
                match ended {
                    Ok(Finished::Batch(_, messages) | Finished::Suspects(messages)) => {
                        unacknowledged.extend(messages);
                    }
                    Ok(Finished::Heavy(message, _)) => unacknowledged.push(message),
                    // The panic itself is in the log. The broker delivers the messages of the task again.
                    Err(error) => tracing::error!(%error, "a task of ingestion ended early"),
                }
            }
        }
        unacknowledged
    }
}

async fn apply<P: Ports>(
    ports: Arc<P>,
    mut batch: Batch<P::Message>,
    stop: CancellationToken,
) -> Finished<P::Message> {
    let reservation = batch.take_reservation();
    Finished::Batch(reservation, apply_batch(&*ports, batch, &stop).await)
}

async fn open_heavy<P: Ports>(ports: Arc<P>, message: P::Message) -> Finished<P::Message> {
    let opening = parse::open(&*ports, &message);
    let opened = with_progress(&*ports, || std::iter::once(&message), opening).await;
    Finished::Heavy(message, Box::new(opened))
}

async fn process_suspects<P: Ports>(
    ports: Arc<P>,
    suspects: VecDeque<P::Message>,
    stop: CancellationToken,
) -> Finished<P::Message> {
    Finished::Suspects(suspects::process(ports, suspects, stop).await)
}

/// Whether the waiting `calls` gather beside `writes` running writes, the last of which began `since` ago. If a heavy
/// message waits, they do not: its write is long.
fn gathers(writes: usize, calls: usize, has_heavy: bool, since: Duration) -> bool {
    writes == 1 && (1..MIN_CALLS_BESIDE).contains(&calls) && !has_heavy && since < LONG_WRITE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_calls_gather_beside_a_short_write() {
        let just_begun = Duration::ZERO;
        assert!(gathers(1, 1, false, just_begun) && gathers(1, MIN_CALLS_BESIDE - 1, false, just_begun));
        assert!(!gathers(0, 1, false, just_begun), "a single webhook is written at once");
        assert!(!gathers(1, 0, false, just_begun));
        assert!(
            !gathers(1, MIN_CALLS_BESIDE, false, just_begun),
            "a backlog is written in two writes at a time"
        );
        assert!(!gathers(1, 1, true, just_begun), "light calls do not wait for a heavy one");
        assert!(!gathers(1, 1, false, LONG_WRITE), "no call waits for a write that hangs");
    }
}
