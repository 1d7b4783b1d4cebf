//! Serves one endpoint: pulls its messages, and delivers several at the same time.

use std::{collections::VecDeque, sync::Arc};

use async_nats::jetstream::Message;
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Sender, consumers,
    deliver::{Attempted, Deliverer},
};
use crate::{
    Context,
    broker::consumer::{Batches, Pull as _, Source, hold},
    domain::delivery::Endpoint,
};

/// New messages that one worker sends to one endpoint at the same time.
const MAX_NEW: usize = 16;
/// Messages that are sent again at the same time. They have slots of their own, so that an endpoint that recovers
/// gets new messages at once.
const MAX_AGAIN: usize = 8;

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
        let new = consumers::new_messages(&endpoint, MAX_NEW, replicas);
        let due = consumers::due_messages(&endpoint.id, MAX_AGAIN, replicas);
        tokio::join!(
            self.pull(new, |deliverer, message| async move { deliverer.deliver_new(&message).await }),
            self.pull(due, |deliverer, message| async move { deliverer.deliver_again(&message).await }),
        );
    }

    /// Pulls messages, and handles as many at the same time as are pulled at a time. A record needs no slot.
    async fn pull<F>(&self, source: Source, handle: impl Fn(Arc<Deliverer>, Message) -> F)
    where
        F: Future<Output = Option<Attempted>> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(source.messages));
        let mut batches = Batches::new(self.deliverer.context.jetstream.clone(), source);
        let (tasks, mut returned) = (TaskTracker::new(), Vec::new());
        while let Some(messages) = batches.next(&self.stop).await {
            let mut waiting = VecDeque::from(messages);
            while !waiting.is_empty() {
                let slot = self.stop.run_until_cancelled(slots.clone().acquire_owned());
                let Some(slot) = hold(waiting.make_contiguous(), slot).await else {
                    returned.extend(waiting);
                    break;
                };
                let Some(message) = waiting.pop_front() else { break };
                let deliverer = self.deliverer.clone();
                let handled = handle(deliverer.clone(), message);
                tasks.spawn(async move {
                    let Some(attempted) = handled.await else { return };
                    let record = deliverer.admit_record(attempted).await;
                    drop(slot);
                    if let Some(record) = record {
                        deliverer.record(record).await;
                    }
                });
            }
        }
        batches.release(returned).await;
        tasks.close();
        tasks.wait().await;
    }
}
