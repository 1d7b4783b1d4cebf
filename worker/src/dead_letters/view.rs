//! A dead letter as the console shows it.

use aftercall_common::contract::streams::header;
use bytes::Bytes;
use jiff::Timestamp;

use super::message::DeadLetter;

/// A dead letter with everything that the console shows of it.
#[derive(Clone, Debug)]
pub struct DeadLetterView {
    /// Its number: the sequence in `DEAD_LETTERS`.
    pub number: u64,
    /// When the message became a dead letter.
    pub dead_lettered_at: Timestamp,
    /// The stable label of the cause.
    pub reason: String,
    /// The cause in a sentence.
    pub detail: String,
    /// How often the message was delivered.
    pub attempts: String,
    /// Whether it had been sent again as another dead letter before.
    pub was_redriven: bool,
    /// Stream and sequence of the original message.
    pub origin: (String, String),
    /// Subject of the original message.
    pub subject: String,
    /// When the gateway accepted the message.
    pub received_at: String,
    /// Address of the sender.
    pub source_ip: String,
    /// The result of the gateway's check of the signature.
    pub signature: String,
    /// Bytes of the body.
    pub bytes: usize,
    /// The object that holds the body, if the message does not.
    pub object: Option<String>,
    /// The body, if the message holds it.
    pub body: Bytes,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(dead_letter: DeadLetter) -> Self {
        let text = |name: &str| dead_letter.header(name).to_owned();
        Self {
            number: dead_letter.0.sequence,
            dead_lettered_at: dead_letter.dead_lettered_at(),
            reason: text(header::DEAD_REASON),
            detail: text(header::DEAD_DETAIL),
            attempts: text(header::DEAD_ATTEMPTS),
            was_redriven: dead_letter.was_redriven(),
            origin: (text(header::DEAD_STREAM), text(header::DEAD_SEQUENCE)),
            subject: text(header::DEAD_SUBJECT),
            received_at: text(header::RECEIVED_AT),
            source_ip: text(header::SOURCE_IP),
            signature: text(header::SIGNATURE),
            bytes: dead_letter.bytes(),
            object: Some(text(header::BODY_OBJECT)).filter(|name| !name.is_empty()),
            body: dead_letter.0.payload.clone(),
        }
    }
}
