//! The labels of the metrics. Each takes its values from a closed set.

use prometheus_client::encoding::EncodeLabelSet;

/// Labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Which endpoint.
    pub route: &'static str,
    /// `ok`, or the code of the refusal.
    pub code: &'static str,
}

/// Labels of a webhook's origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OriginLabels {
    /// Which endpoint.
    pub route: &'static str,
    /// `allowed` or `refused`.
    pub source: &'static str,
    /// `verified`, `token`, `absent`, `missing`, `invalid`, `expired`, or `unchecked` for what was refused unread.
    pub signature: &'static str,
}

/// Labels of what is told by route alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// Which endpoint.
    pub route: &'static str,
}

/// Labels of the durability grade.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GradeLabels {
    /// `synced`, `replicated`, `page-cache` or `unknown`.
    pub grade: &'static str,
}

/// Labels of what was taken in although it would be refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ObservedLabels {
    /// Code of the refusal.
    pub code: &'static str,
}

/// Labels of a publish.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PublishLabels {
    /// `stored`, `duplicate`, or why not.
    pub outcome: &'static str,
}
