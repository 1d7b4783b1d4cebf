//! The console, over HTTP and in a real Chromium.

mod accessibility;
mod batch;
mod browser;
mod call_list;
mod call_page;
mod dead_letters;
mod endpoint_forms;
mod endpoints;
mod filters;
mod hostile_payloads;
mod keys;
mod letter_work;
mod live_updates;
mod login;
mod masking;
mod notes;
mod outages;
mod overview;
mod people;
mod screenshot;
mod steady_list;

use std::time::Duration;

use aftercall_local::{
    ports,
    simulator::{Options, Twilio},
};
use serde_json::{Value, json};

use crate::harness::{TestStack, TestStackBuilder, recently};

/// The token of the console.
pub const TOKEN: &str = "token-of-the-tests";

/// A stack with a console.
pub struct ConsoleStack {
    pub stack: TestStack,
    /// The URL of the console.
    pub console: String,
}

/// The configuration of a stack with a console, and the URL of the console.
fn setup() -> (TestStackBuilder, String) {
    let address = format!("127.0.0.1:{}", ports::free().unwrap());
    let setup = TestStack::builder()
        .worker_env("ROLES", "status,transcripts,api,reconcile,console")
        .worker_env("CONSOLE_ADDR", &address)
        .worker_env("CONSOLE_TOKEN", TOKEN)
        .worker_env("CONSOLE_TEST_CALLS", "true");
    (setup, format!("http://{address}"))
}

/// Starts a stack with a console and a simulated provider. Each step of a simulated call takes `pace`.
async fn start(pace: Duration) -> ConsoleStack {
    let (setup, console) = setup();
    let twilio = Twilio { url: String::new(), auth_token: None, public_url: None };
    let options = Options { pace, twilio: Some(twilio), ..Options::default() };
    ConsoleStack { stack: setup.simulator(options).start().await, console }
}

impl ConsoleStack {
    /// The login link.
    pub fn link(&self) -> String {
        format!("{}/?token={TOKEN}", self.console)
    }

    /// A request for a page, with the token.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.stack.http.get(format!("{}{path}", self.console)).bearer_auth(TOKEN)
    }

    /// Status and text of the answer to a submitted form.
    async fn post(&self, path: &str, form: &str) -> (u16, String) {
        let sent = self.stack.http.post(format!("{}{path}", self.console)).bearer_auth(TOKEN);
        let sent = sent.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        let answer = sent.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Status and text of a page.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.get(path).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// An event of the call `id`, at second `at`.
fn event(id: &str, kind: &str, at: i64) -> Value {
    json!({ "event_type": format!("call.{kind}"), "call_id": id, "to_number": "+12025550123", "timestamp": at })
}

/// The transcription webhook of a conversation with these turns.
fn transcription(call: &str, turns: &Value, summary: &str) -> Value {
    json!({
        "type": "post_call_transcription", "event_timestamp": recently() + 123, "data": {
            "agent_id": "agent_1", "conversation_id": format!("conv_{call}"), "status": "done",
            "transcript": turns,
            "metadata": {
                "start_time_unix_secs": recently(), "call_duration_secs": 61, "termination_reason": "hang-up",
                "phone_call": { "call_sid": call, "external_number": "+12025550123", "phone_number_id": "p" },
            },
            "analysis": { "call_successful": "success", "transcript_summary": summary },
        },
    })
}
