//! The demo of `up`: invented calls of several agents, reported by webhooks as real calls are.

mod agents;
mod campaign;
mod talk;

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

pub use self::campaign::Campaign;
use self::{
    agents::{Agent, agents},
    campaign::DemoCall,
};
use super::{
    generated::Ending,
    sender::{self, Event},
    state::{Served, State, lock},
};

/// Path of the request that places the calls of campaigns.
pub const PATH: &str = "/simulated/demo";
/// Most webhooks that are sent at the same time.
const MAX_SENDING: usize = 16;

/// Serves the calls of `campaigns`, and sends their webhooks. Returns the number of calls, after the last webhook.
///
/// The ids of a campaign depend on its day, so a campaign that is placed again adds nothing.
pub(super) async fn place(state: &Arc<State>, campaigns: &[Campaign]) -> usize {
    let calls: Vec<_> = campaigns.iter().flat_map(Campaign::calls).collect();
    for campaign in campaigns {
        lock(&state.served_batches).extend(batches(campaign, &calls));
    }
    serve(state, &calls, false);
    stream::iter(&calls).for_each_concurrent(MAX_SENDING, |call| report(state, call)).await;
    // A pass of reconciliation that lists a call earlier adds the events whose webhooks are on their way.
    serve(state, &calls, true);
    calls.len()
}

/// Serves the conversations of `calls`. `is_listed`: the list of conversations has them too.
fn serve(state: &State, calls: &[DemoCall], is_listed: bool) {
    let mut served = lock(&state.served);
    for call in calls {
        let id = call.conversation["conversation_id"].as_str().unwrap_or_default().to_owned();
        let summary = is_listed.then(|| call.summary.clone());
        served.insert(id, Served { conversation: call.conversation.clone(), summary });
    }
}

/// Sends the callbacks and the webhooks of a call, in the order of its events.
async fn report(state: &Arc<State>, call: &DemoCall) {
    if let Some(twilio) = &state.options.twilio {
        for parameters in &call.callbacks {
            sender::call_back(state, twilio, parameters, 1).await;
        }
    }
    for (bound_as, body) in &call.webhooks {
        sender::send(state, Event { agent: call.agent.clone(), bound_as, body: body.clone() }).await;
    }
}

/// The batches of a campaign by their ids, in the form of [`super::batches`].
fn batches(campaign: &Campaign, calls: &[DemoCall]) -> Vec<(String, Value)> {
    let batch = |agent: Agent| {
        let (id, name) = campaign.batch(&agent)?;
        let recipients: Vec<_> =
            calls.iter().filter(|call| call.batch.as_ref() == Some(&id)).map(recipient).collect();
        let began = campaign.until.as_second() - agent.from_minutes * 60;
        let detail = json!({
            "id": id, "name": name, "agent_id": agent.id, "agent_name": agent.name,
            "phone_number_id": agent.number_id, "phone_provider": "twilio", "telephony_call_config": {},
            "created_at_unix": began, "scheduled_time_unix": began, "last_updated_at_unix": began,
            "total_calls_dispatched": recipients.len(), "total_calls_scheduled": recipients.len(),
            "total_calls_finished": recipients.len(), "retry_count": 0, "status": "completed",
            "recipients": recipients,
        });
        Some((id, detail))
    };
    agents().into_iter().filter_map(batch).collect()
}

fn recipient(call: &DemoCall) -> Value {
    let conversation = &call.conversation;
    let began = &conversation["metadata"]["start_time_unix_secs"];
    let status = match call.ending {
        Ending::Answered => "completed",
        Ending::Voicemail | Ending::DetectedMachine => "voicemail",
        _ => "failed",
    };
    json!({
        "id": conversation["metadata"]["batch_call"]["batch_call_recipient_id"], "phone_number": call.number,
        "status": status, "created_at_unix": began, "updated_at_unix": began,
        "conversation_id": conversation["conversation_id"],
        "conversation_initiation_client_data": conversation["conversation_initiation_client_data"],
    })
}

#[cfg(test)]
mod tests;
