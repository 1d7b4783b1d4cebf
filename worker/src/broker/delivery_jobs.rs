//! Jobs to post a message to an endpoint again: messages of the stream `DELIVERIES`.
//!
//! A job names the message by its stream and sequence, and does not copy it. So an erased message is not sent any
//! more.

use aftercall_common::contract::streams::{CALLS, WEBHOOKS, header, subject};
use async_nats::{HeaderMap, jetstream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The streams of messages that are posted to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum MessageStream {
    /// Events about calls.
    #[serde(rename = "CALLS")]
    Calls,
    /// Webhooks of providers.
    #[serde(rename = "WEBHOOKS")]
    Webhooks,
}

impl MessageStream {
    /// The name of the stream.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Calls => CALLS,
            Self::Webhooks => WEBHOOKS,
        }
    }

    /// The stream with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Calls, Self::Webhooks].into_iter().find(|stream| stream.as_str() == name)
    }
}

/// The job to post one message to one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryJob {
    /// The endpoint.
    pub endpoint: String,
    /// The stream of the message.
    pub stream: MessageStream,
    /// Its sequence there.
    pub sequence: u64,
    /// Its id. If the stream was created again, another message may have this sequence.
    pub message_id: String,
    /// Number of attempts so far.
    pub attempts: u32,
}

impl DeliveryJob {
    /// Reads a job.
    ///
    /// # Errors
    /// The payload is not a job. The error is a sentence with the reason.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(payload)
            .map_err(|error| format!("not a job at line {} column {}", error.line(), error.column()))
    }

    /// The body of the message.
    fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }
}

/// Publishes `job`, which is due now.
///
/// # Errors
/// The broker has not confirmed the job.
pub async fn enqueue_delivery(
    context: &jetstream::Context,
    job: &DeliveryJob,
) -> Result<(), async_nats::Error> {
    context.publish(subject::delivery_due(&job.endpoint), job.payload().into()).await?.await?;
    Ok(())
}

/// Publishes `job` so that the broker delivers it `at` this time. A later schedule of the same message for the same
/// endpoint replaces the earlier one.
///
/// # Errors
/// The broker has not confirmed the job.
pub async fn schedule_delivery(
    context: &jetstream::Context,
    job: &DeliveryJob,
    at: Timestamp,
) -> Result<(), async_nats::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(header::SCHEDULE, format!("@at {at}").as_str());
    headers.insert(header::SCHEDULE_TARGET, subject::delivery_due(&job.endpoint).as_str());
    let subject = subject::delivery_later(&job.endpoint, job.stream.as_str(), job.sequence);
    context.publish_with_headers(subject, headers, job.payload().into()).await?.await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_written_and_other_payloads_are_refused() {
        let job = DeliveryJob {
            endpoint: "ep_0123456789abcdef".to_owned(),
            stream: MessageStream::Webhooks,
            sequence: 7,
            message_id: "m".to_owned(),
            attempts: 3,
        };
        assert_eq!(DeliveryJob::read(&job.payload()), Ok(job));
        assert!(DeliveryJob::read(br#"{"endpoint":"e","stream":"TRANSCRIPTS","sequence":1}"#).is_err());
    }
}
