//! The state that all requests to the console share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use aftercall_common::{phone_numbers::Numbers, process::broker::is_connected};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access::{auth::Access, stream_limits::StreamLimits},
    live::{
        broadcast::{Broadcast, Health},
        broker_samples::BrokerSamples,
        figures::FiguresCache,
        reasons::ReasonsCache,
    },
};
use crate::{Context, elevenlabs::ElevenLabs, store::views::Views};

/// The data, settings and connections from which pages are made.
pub struct Console {
    pub context: Arc<Context>,
    /// The API of ElevenLabs. `None`: `ELEVENLABS_API_KEY` is not set.
    pub api: Option<ElevenLabs>,
    pub views: Views,
    pub access: Access,
    /// Whether telephone numbers are shown whole or masked.
    pub numbers: Numbers,
    pub broadcast: Broadcast,
    pub stream_limits: StreamLimits,
    /// Whether MongoDB answered the latest ping.
    pub mongodb: AtomicBool,
    pub broker: BrokerSamples,
    pub reasons: ReasonsCache,
    pub figures: FiguresCache,
    /// Background work that is awaited at the end.
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
}

impl Console {
    /// The servers that answer.
    pub fn health(&self) -> Health {
        Health { mongodb: self.mongodb.load(Ordering::Relaxed), nats: is_connected(&self.context.nats) }
    }
}
