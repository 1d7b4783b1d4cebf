//! Posts events of the stream `CALLS`, and webhooks of the stream `WEBHOOKS`, to endpoints.
//!
//! Every endpoint has two consumers at the broker: one for new messages, one for messages that are sent again. So the
//! trouble of one endpoint delays no other, and several workers share the work of each. An attempt that fails is
//! followed by a job in the stream `DELIVERIES`, which the broker delivers when the next attempt is due.
//!
//! Invariants:
//! - A message is acknowledged only after the receiver has accepted it, or the job that follows is stored, or the
//!   last attempt has failed.
//! - Requests in progress, bytes of answers, and times are bounded for each endpoint.
//!
//! Delivery needs MongoDB only for the list of endpoints, which it knows for as long as it runs.

mod answer;
mod backlog;
mod consumers;
mod deliver;
mod request;
mod resolver;
mod sender;
mod serve;

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::serve::Server;
pub use self::{backlog::backlog, sender::Sender};
use crate::{
    Context,
    domain::{
        delivery::{Endpoint, EndpointId, State},
        time::between,
    },
};

/// Interval at which the endpoints are read: a new, paused or resumed endpoint counts after this time at the latest.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// An endpoint that is served.
struct Served {
    endpoint: watch::Sender<Arc<Endpoint>>,
    /// Ends the service. The service ends itself if the endpoint has to be stopped.
    stop: CancellationToken,
}

impl Served {
    /// Whether the consumer of the service gets what `endpoint` wants.
    fn fits(&self, endpoint: &Endpoint) -> bool {
        let known = self.endpoint.borrow();
        known.filter.subject(known.kind) == endpoint.filter.subject(endpoint.kind)
    }
}

/// Posts messages to all active endpoints until `stop`.
pub(crate) async fn run(context: Arc<Context>, stop: CancellationToken) {
    let sender = match Sender::new(context.config.private_networks()) {
        Ok(sender) => sender,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "endpoints get nothing: no HTTP client");
            return stop.cancelled().await;
        }
    };
    let (mut served, services) = (HashMap::new(), TaskTracker::new());
    while !stop.is_cancelled() {
        let endpoints = stop.run_until_cancelled(context.store.endpoints());
        let Some(endpoints) = endpoints.await else { break };
        match endpoints {
            Ok(endpoints) => {
                measure(&context, &endpoints, Timestamp::now());
                update(&mut served, endpoints, &stop, |endpoint, stop| {
                    services.spawn(Server::new(context.clone(), sender.clone(), endpoint, stop).run());
                });
            }
            Err(error) => tracing::warn!(%error, "endpoints were not read; the known ones are served"),
        }
        stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await;
    }
    services.close();
    services.wait().await;
}

/// Ends the services of endpoints that are not active any more, tells the others what changed, and starts missing
/// ones. The service of an endpoint that needs another consumer starts again. All services end with `stop`.
fn update(
    served: &mut HashMap<EndpointId, Served>,
    endpoints: Vec<Endpoint>,
    stop: &CancellationToken,
    start: impl Fn(watch::Receiver<Arc<Endpoint>>, CancellationToken),
) {
    let active = endpoints.into_iter().filter(|endpoint| endpoint.state == State::Active);
    let mut active: HashMap<_, _> =
        active.map(|endpoint| (endpoint.id.clone(), Arc::new(endpoint))).collect();
    let mut again = Vec::new();
    served.retain(|id, service| match active.remove(id) {
        // A service that ended itself starts again at the next poll, if the endpoint is active then.
        Some(_) if service.stop.is_cancelled() => false,
        Some(endpoint) if service.fits(&endpoint) => {
            service.endpoint.send_if_modified(|known| {
                let changed = *known != endpoint;
                *known = endpoint;
                changed
            });
            true
        }
        Some(endpoint) => {
            service.stop.cancel();
            again.push((id.clone(), endpoint));
            false
        }
        None => {
            service.stop.cancel();
            false
        }
    });
    for (id, endpoint) in active.into_iter().chain(again) {
        let (sender, receiver) = watch::channel(endpoint);
        let stop = stop.child_token();
        start(receiver, stop.clone());
        served.insert(id, Served { endpoint: sender, stop });
    }
}

/// Sets the gauges of endpoints.
fn measure(context: &Context, endpoints: &[Endpoint], now: Timestamp) {
    for state in State::ALL {
        let count = endpoints.iter().filter(|endpoint| endpoint.state == state).count();
        context.metrics.endpoints(state, count);
    }
    let active = endpoints.iter().filter(|endpoint| endpoint.state == State::Active);
    let longest = active.filter_map(|endpoint| Some(between(endpoint.failing_since?, now))).max();
    context.metrics.longest_failing(longest.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::domain::delivery::{EndpointUrl, Filter, Kind, Reason, Secrets, endpoint::ID_BYTES};

    fn endpoint(byte: u8, state: State) -> Endpoint {
        Endpoint {
            id: EndpointId::new([byte; ID_BYTES]),
            url: EndpointUrl::parse("https://example.com").unwrap(),
            kind: Kind::Raw,
            filter: Filter::default(),
            secrets: Secrets::default(),
            state,
            since: Timestamp::UNIX_EPOCH,
            created_at: Timestamp::UNIX_EPOCH,
            failing_since: None,
        }
    }

    #[test]
    fn exactly_the_active_endpoints_are_served() {
        let (mut served, started) = (HashMap::new(), Mutex::new(Vec::new()));
        let all = CancellationToken::new();
        let paused = State::Stopped(Reason::Operator);
        let mut poll = |endpoints: Vec<Endpoint>| {
            update(&mut served, endpoints, &all, |endpoint, stop| {
                started.lock().unwrap().push((endpoint, stop));
            });
        };
        poll(vec![endpoint(1, State::Active), endpoint(2, paused)]);
        let (first, stop) = started.lock().unwrap()[0].clone();
        poll(vec![Endpoint { failing_since: Some(Timestamp::UNIX_EPOCH), ..endpoint(1, State::Active) }]);
        assert!(first.borrow().failing_since.is_some() && !stop.is_cancelled());
        poll(vec![endpoint(1, paused)]);
        assert!(stop.is_cancelled());
        poll(vec![endpoint(1, State::Active)]);
        assert_eq!(started.lock().unwrap().len(), 2, "it was resumed");
        // A service that ended itself starts again if the endpoint is active at the next poll.
        started.lock().unwrap()[1].1.cancel();
        poll(vec![endpoint(1, State::Active)]);
        poll(vec![endpoint(1, State::Active)]);
        assert_eq!(started.lock().unwrap().len(), 3);
        // Another type of events needs another consumer.
        let narrow = Filter { types: vec!["elevenlabs".to_owned()], ..Filter::default() };
        poll(vec![Endpoint { filter: narrow.clone(), ..endpoint(1, State::Active) }]);
        assert!(started.lock().unwrap()[2].1.is_cancelled());
        assert_eq!(started.lock().unwrap()[3].0.borrow().filter, narrow);
        poll(vec![]);
        assert!(started.lock().unwrap()[3].1.is_cancelled(), "it was removed");
        poll(vec![endpoint(1, State::Active)]);
        all.cancel();
        assert!(started.lock().unwrap()[4].1.is_cancelled(), "the worker stops");
    }
}
