//! The routes of the public listener: their paths, methods and labels.

use aftercall_common::contract::provider::Provider;
use hyper::Method;

use crate::admission::provider;

/// A route of the public listener. The path of a request selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Webhooks of a provider.
    Webhook(Provider),
    /// Status of a call.
    AgentCallStatus,
    /// Placement of a call.
    AgentCalls,
    /// No route has this path.
    Unknown,
}

impl Route {
    /// Every route.
    pub fn all() -> impl Iterator<Item = Self> {
        let webhooks = Provider::ALL.iter().copied().map(Self::Webhook);
        webhooks.chain([Self::AgentCallStatus, Self::AgentCalls, Self::Unknown])
    }

    /// The route of `path`. Empty segments are ignored, because senders that append a path to a base URL
    /// with a final slash double that slash.
    pub fn of(path: &str) -> Self {
        match Self::with_path(path) {
            Self::Unknown if path.starts_with('/') && (path.contains("//") || path.ends_with('/')) => {
                let segments = path.split('/').filter(|segment| !segment.is_empty());
                Self::with_path(
                    &segments.fold(String::with_capacity(path.len()), |path, segment| path + "/" + segment),
                )
            }
            route => route,
        }
    }

    fn with_path(path: &str) -> Self {
        Self::all().find(|route| route.path() == path).unwrap_or(Self::Unknown)
    }

    /// The path, without empty segments.
    pub fn path(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider.path(),
            Self::AgentCallStatus => "/api/agent-calls/status",
            Self::AgentCalls => "/api/agent-calls",
            Self::Unknown => "",
        }
    }

    /// The methods of the route, as the `Allow` header lists them.
    pub(crate) fn methods(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider::methods(provider),
            Self::AgentCallStatus | Self::AgentCalls | Self::Unknown => "POST",
        }
    }

    /// Whether the route has this method.
    pub(crate) fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| method == allowed)
    }

    /// The name of the span of a request. `None`: the request is not traced.
    pub(crate) fn span(self) -> Option<&'static str> {
        match self {
            Self::Webhook(provider) => Some(provider.request_span()),
            Self::AgentCallStatus => Some("POST /api/agent-calls/status"),
            Self::AgentCalls => Some("POST /api/agent-calls"),
            Self::Unknown => None,
        }
    }

    /// The value of the label `route` in metrics and log lines.
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider.route_label(),
            Self::AgentCallStatus => "agent_call_status",
            Self::AgentCalls => "agent_calls",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_segments_of_a_path_are_ignored() {
        let elevenlabs = Route::Webhook(Provider::ElevenLabs);
        for (path, route) in [
            ("/api/webhooks/elevenlabs/call-status", elevenlabs),
            ("/api/webhooks/elevenlabs/call-status/", elevenlabs),
            ("//api/webhooks//elevenlabs/call-status//", elevenlabs),
            ("/api/agent-calls/", Route::AgentCalls),
            ("/api/agent-calls/status/", Route::AgentCallStatus),
            ("/api/webhooks/elevenlabs/call%2Dstatus", Route::Unknown),
            ("/API/agent-calls", Route::Unknown),
            ("api/agent-calls/", Route::Unknown),
            ("/api/agent-calls/x", Route::Unknown),
            ("/", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
