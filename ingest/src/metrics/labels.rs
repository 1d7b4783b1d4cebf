//! The labels of the metrics. Each has a closed set of values.

use prometheus_client::encoding::EncodeLabelSet;

/// Label `code` of a request that was served.
pub const OK: &str = "ok";
/// Label `outcome` of a webhook that the broker stored.
pub const STORED: &str = "stored";
/// Label `outcome` of a webhook that had been stored before.
pub const DUPLICATE: &str = "duplicate";
/// Label `outcome` of a webhook that the spool keeps.
pub const KEPT: &str = "kept";

/// The label values whose series exist from the start. The values come from enums of other modules. Those
/// modules import this module, so it cannot import their enums.
#[derive(Clone, Debug)]
pub struct LabelValues {
    /// Every route.
    pub routes: Vec<&'static str>,
    /// The routes of webhooks.
    pub webhook_routes: Vec<&'static str>,
    /// The codes with which a webhook can be refused.
    pub webhook_codes: Vec<&'static str>,
    /// The codes that `SOURCE_POLICY=observe` overrides.
    pub observed_codes: Vec<&'static str>,
    /// The results of a signature check.
    pub signatures: Vec<&'static str>,
    /// The reasons why a publish fails.
    pub publish_errors: Vec<&'static str>,
    /// The reasons why the spool does not keep a webhook.
    pub spool_errors: Vec<&'static str>,
    /// The modes of the spool.
    pub spool_modes: Vec<&'static str>,
}

/// Whether the sender of a webhook is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceLabel {
    /// The sender is listed.
    Allowed,
    /// The sender is not listed.
    Refused,
}

impl SourceLabel {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Allowed, Self::Refused];

    /// The value of the label `source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }
}

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route.
    pub route: &'static str,
    /// [`OK`], or the code of the refusal.
    pub code: &'static str,
}

/// Labels of the authenticity of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AuthenticityLabels {
    /// The route.
    pub route: &'static str,
    /// See [`SourceLabel`].
    pub source: &'static str,
    /// The result of the signature check, or `unchecked` if the webhook was refused before that check.
    pub signature: &'static str,
}

/// Labels of metrics that have only a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The route.
    pub route: &'static str,
}

/// Labels of the durability grade.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GradeLabels {
    /// `synced`, `synced-local`, `replicated`, `page-cache` or `unknown`.
    pub grade: &'static str,
}

/// Labels of the oldest webhook in the spool.
#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub struct SpoolLabels {
    /// The mode in which the webhook was written: `fallback` or `first`.
    pub mode: &'static str,
}

/// Labels of an accepted webhook that `SOURCE_POLICY=enforce` would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObservedLabels {
    /// The code of the refusal.
    pub code: &'static str,
}

/// Labels of a publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PublishLabels {
    /// [`STORED`], [`DUPLICATE`], [`KEPT`], or the label of the error.
    pub outcome: &'static str,
}
