//! Sends the webhooks of generated conversations.

use std::sync::Arc;

use super::{
    generated::{Generated, foreign},
    sender::{self, Event},
    state::{State, lock},
};

/// One conversation in so many comes with a webhook of another product.
const FOREIGN: usize = 10;

/// Sends the webhooks and the callbacks of `conversations`. Webhooks have the faults of the simulator. No
/// callback is lost.
pub(super) fn send(state: &Arc<State>, conversations: Vec<Generated>) {
    for (n, generated) in conversations.into_iter().enumerate() {
        let agent = generated.ids.agent.clone();
        let is_trace = lock(&state.registry).format(&agent) == "opentelemetry";
        let transcript = match generated.trace() {
            Some(trace) if is_trace => Some(trace),
            // A call that was not connected has another webhook.
            _ => generated.plan.ending.connects().then(|| generated.webhook()),
        };
        let bodies = [
            ("transcript", transcript),
            ("call_initiation_failure", generated.failure()),
            ("answering_machine_detection", generated.detection()),
            ("transcript", n.is_multiple_of(FOREIGN).then(|| foreign(u32::try_from(n).unwrap_or(0)))),
        ];
        for (bound_as, body) in bodies.into_iter().filter_map(|(bound_as, body)| Some((bound_as, body?))) {
            let (owner, event) = (state.clone(), Event { agent: agent.clone(), bound_as, body });
            state.spawn(async move { sender::send(&owner, event).await });
        }
        let Some(twilio) = &state.options.twilio else { continue };
        for parameters in generated.callbacks {
            let (owner, twilio) = (state.clone(), twilio.clone());
            state.spawn(async move {
                let times = owner.delay_and_count().await.max(1);
                sender::call_back(&owner, &twilio, &parameters, times).await;
            });
        }
    }
}
