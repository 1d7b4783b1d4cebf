//! The result of a publish: the place where the webhook is stored, or the reason why it may not be stored.

/// The acknowledgement of the broker, or the reason why the broker did not acknowledge the message.
pub type PublishResult = Result<Stored, PublishError>;

/// Where the broker has stored a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The sequence of its message in the stream.
    pub sequence: u64,
    /// Whether the stream already had the webhook. The broker then added nothing.
    pub duplicate: bool,
}

/// Why a publish failed. The webhook may be stored nevertheless if the description of the error says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The queue for the broker is full. Nothing was sent.
    QueueFull,
    /// The broker cannot be reached. Nothing was sent.
    Disconnected,
    /// The streams have not been checked yet, or are missing. Nothing was stored.
    NoStream,
    /// The deadline passed while the webhook was queued. Nothing was sent.
    Expired,
    /// The broker did not answer before the deadline. The webhook may be stored.
    TimedOut,
    /// The connection broke before the answer came. The webhook may be stored.
    ConnectionLost,
    /// The broker refused with this `JetStream` error code (10077: the stream is full). Nothing was stored.
    Refused(u64),
    /// The body is too large for a message, and the object store did not store it.
    BodyNotStored,
    /// The broker's answer is not an acknowledgement. The webhook may be stored.
    Garbled,
    /// The gateway is stopping.
    Stopping,
}

impl PublishError {
    /// Every error.
    pub const ALL: [Self; 10] = [
        Self::QueueFull,
        Self::Disconnected,
        Self::NoStream,
        Self::Expired,
        Self::TimedOut,
        Self::ConnectionLost,
        Self::Refused(0),
        Self::BodyNotStored,
        Self::Garbled,
        Self::Stopping,
    ];

    /// The stable name in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Disconnected => "disconnected",
            Self::NoStream => "no_stream",
            Self::Expired => "expired",
            Self::TimedOut => "timed_out",
            Self::ConnectionLost => "connection_lost",
            Self::Refused(_) => "refused",
            Self::BodyNotStored => "body_not_stored",
            Self::Garbled => "garbled",
            Self::Stopping => "stopping",
        }
    }
}
