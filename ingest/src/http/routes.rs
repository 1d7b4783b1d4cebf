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
    /// The list of calls: the same path as [`Self::AgentCalls`], with another method.
    AgentCallList,
    /// One call.
    AgentCall,
    /// The turns of a call.
    AgentCallTranscript,
    /// The recording of a call.
    AgentCallAudio,
    /// The description of the public listener in `OpenAPI`.
    OpenApi,
    /// No route has this path.
    Unknown,
}

impl Route {
    /// Every route.
    pub fn all() -> impl Iterator<Item = Self> {
        let webhooks = Provider::ALL.iter().copied().map(Self::Webhook);
        webhooks.chain([
            Self::AgentCallStatus,
            Self::AgentCalls,
            Self::AgentCallList,
            Self::AgentCall,
            Self::AgentCallTranscript,
            Self::AgentCallAudio,
            Self::OpenApi,
            Self::Unknown,
        ])
    }

    /// The route of a request with this method and path.
    pub fn of_request(method: &Method, path: &str) -> Self {
        match Self::of(path) {
            Self::AgentCalls if matches!(*method, Method::GET | Method::HEAD) => Self::AgentCallList,
            route => route,
        }
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
        if let Some(route) = Self::all().find(|route| route.path() == path) {
            return route;
        }
        // Segments are compared as they are, still percent-encoded, so an id may contain an encoded slash.
        match path.strip_prefix("/api/agent-calls/").map(|rest| rest.split_once('/')) {
            Some(None) if !path.ends_with('/') => Self::AgentCall,
            Some(Some((id, "transcript"))) if !id.is_empty() => Self::AgentCallTranscript,
            Some(Some((id, "audio"))) if !id.is_empty() => Self::AgentCallAudio,
            _ => Self::Unknown,
        }
    }

    /// Whether pages of the origins in `API_CORS_ORIGINS` may use the route: it is about calls, or describes
    /// the routes that are.
    pub(crate) fn is_for_pages(self) -> bool {
        !matches!(self, Self::Webhook(_) | Self::Unknown)
    }

    /// The path, without empty segments. `{id}` stands for the id of a call.
    pub fn path(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider.path(),
            Self::AgentCallStatus => "/api/agent-calls/status",
            Self::AgentCalls | Self::AgentCallList => "/api/agent-calls",
            Self::AgentCall => "/api/agent-calls/{id}",
            Self::AgentCallTranscript => "/api/agent-calls/{id}/transcript",
            Self::AgentCallAudio => "/api/agent-calls/{id}/audio",
            Self::OpenApi => "/openapi.json",
            Self::Unknown => "",
        }
    }

    /// The methods of the route, as the `Allow` header lists them.
    pub(crate) fn methods(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider::methods(provider),
            Self::AgentCallStatus => "POST, OPTIONS",
            Self::AgentCalls | Self::AgentCallList => "GET, HEAD, POST, OPTIONS",
            Self::AgentCall | Self::AgentCallTranscript | Self::AgentCallAudio | Self::OpenApi => {
                "GET, HEAD, OPTIONS"
            }
            Self::Unknown => "",
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
            Self::AgentCallList => Some("GET /api/agent-calls"),
            Self::AgentCall => Some("GET /api/agent-calls/{id}"),
            Self::AgentCallTranscript => Some("GET /api/agent-calls/{id}/transcript"),
            Self::AgentCallAudio => Some("GET /api/agent-calls/{id}/audio"),
            Self::OpenApi | Self::Unknown => None,
        }
    }

    /// The value of the label `route` in metrics and log lines.
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook(provider) => provider.route_label(),
            Self::AgentCallStatus => "agent_call_status",
            Self::AgentCalls => "agent_calls",
            Self::AgentCallList => "agent_call_list",
            Self::AgentCall => "agent_call",
            Self::AgentCallTranscript => "agent_call_transcript",
            Self::AgentCallAudio => "agent_call_audio",
            Self::OpenApi => "openapi",
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
            ("/api/agent-calls/x", Route::AgentCall),
            ("/api//agent-calls/x/", Route::AgentCall),
            ("/api/agent-calls/a%2Fb", Route::AgentCall),
            ("/api/agent-calls/{id}", Route::AgentCall),
            ("/api/agent-calls/x/transcript", Route::AgentCallTranscript),
            ("/api/agent-calls/x//audio/", Route::AgentCallAudio),
            ("/api/agent-calls/x/other", Route::Unknown),
            ("/api/agent-calls/x/audio/1", Route::Unknown),
            ("/", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
        assert_eq!(Route::of_request(&Method::HEAD, "/api/agent-calls"), Route::AgentCallList);
        assert_eq!(Route::of_request(&Method::PUT, "/api/agent-calls"), Route::AgentCalls);
    }
}
