//! Serves one endpoint: pulls its messages, and delivers several at the same time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::jetstream::{AckKind, Message};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Sender, consumers,
    deliver::{Attempted, Deliverer},
};
use crate::{
    Context,
    broker::consumer::{Batches, PROGRESS_INTERVAL, Pull as _, Source, acknowledge},
    domain::delivery::Endpoint,
    retry::stopped_for,
};

/// New messages that one worker sends to one endpoint at the same time.
const MAX_NEW: usize = 16;
/// Messages that are sent again at the same time. They have slots of their own, so that an endpoint that recovers
/// gets new messages at once.
const MAX_AGAIN: usize = 8;

/// Longest time that a service that stops waits for MongoDB to record attempts.
const RECORD_DRAIN: Duration = Duration::from_secs(2);

/// The service of one endpoint.
pub struct Server {
    deliverer: Arc<Deliverer>,
    stop: CancellationToken,
}

impl Server {
    /// The service of the endpoint that `endpoint` shows. It ends with `stop`, and cancels `stop` if the endpoint
    /// has to be stopped.
    pub fn new(
        context: Arc<Context>,
        sender: Sender,
        endpoint: watch::Receiver<Arc<Endpoint>>,
        stop: CancellationToken,
    ) -> Self {
        Self { deliverer: Arc::new(Deliverer::new(context, sender, endpoint, stop.clone())), stop }
    }

    /// Delivers until it has to stop.
    pub async fn run(self) {
        let endpoint = self.deliverer.endpoint();
        let replicas = self.deliverer.context.config.stream_replicas.get();
        let new = consumers::new_message_source(&endpoint, MAX_NEW, replicas);
        let due = consumers::due_message_source(&endpoint.id, MAX_AGAIN, replicas);
        tokio::join!(
            self.pull(new, |deliverer, message| async move { deliverer.deliver_new(&message).await }),
            self.pull(due, |deliverer, message| async move { deliverer.deliver_again(&message).await }),
        );
    }

    /// Pulls messages, and handles as many at the same time as are pulled at a time. An attempt that is being recorded
    /// needs no slot.
    async fn pull<F>(&self, source: Source, handle: impl Fn(Arc<Deliverer>, Message) -> F)
    where
        F: Future<Output = Option<Attempted>> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(source.messages));
        let mut batches = Batches::new(self.deliverer.context.jetstream.clone(), source);
        let (tasks, mut returned) = (TaskTracker::new(), Vec::new());
        let mut progress = tokio::time::interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(messages) = batches.next(&self.stop).await {
            let mut waiting = VecDeque::from(messages);
            progress.reset();
            while !waiting.is_empty() {
                let slot = tokio::select! {
                    biased;
                    () = self.stop.cancelled() => {
                        returned.extend(waiting.drain(..));
                        continue;
                    }
                    // Without news, the broker would deliver messages again that wait for a slot.
                    _ = progress.tick() => {
                        waiting.extend(batches.received());
                        for message in &waiting {
                            acknowledge(message, AckKind::Progress).await;
                        }
                        continue;
                    }
                    slot = slots.clone().acquire_owned() => slot,
                };
                let (Ok(slot), Some(message)) = (slot, waiting.pop_front()) else { continue };
                let handled = handle(self.deliverer.clone(), message);
                tasks.spawn(deliver(self.deliverer.clone(), handled, slot, self.stop.clone()));
            }
        }
        batches.release(returned).await;
        tasks.close();
        tasks.wait().await;
    }
}

/// Awaits a delivery in its `slot`, and records the attempt. After `stop`, recording ends within [`RECORD_DRAIN`].
async fn deliver(
    deliverer: Arc<Deliverer>,
    delivery: impl Future<Output = Option<Attempted>>,
    slot: OwnedSemaphorePermit,
    stop: CancellationToken,
) {
    let Some(attempted) = delivery.await else { return };
    let recorded = async {
        let record = deliverer.admit_record(attempted).await;
        drop(slot);
        if let Some(record) = record {
            deliverer.record(record).await;
        }
    };
    tokio::select! {
        () = recorded => {}
        () = stopped_for(&stop, RECORD_DRAIN) => {}
    }
}
