//! An endpoint that accepts every event, and reports how long after its document it came.

use std::{convert::Infallible, time::Duration};

use aftercall_local::server::Server;
use aftercall_worker::domain::delivery::{
    Endpoint, EndpointId, EndpointUrl, EventType, Filter, Kind, Secrets, SigningSecret, State,
};
use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use super::launch;

/// Longest wait for the next event.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running endpoint. It ends when it is dropped.
pub struct Receiver {
    delays: mpsc::UnboundedReceiver<Duration>,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Starts an endpoint that gets events of the type `event`, and adds it to `database`.
    pub async fn start(database: &Server, event: EventType) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let url = EndpointUrl::parse(&url).map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
        let now = Timestamp::now();
        let store = launch::store(&database.url()).await?;
        let endpoint = Endpoint {
            id: EndpointId::new(rand::random()),
            url,
            kind: Kind::Events,
            filter: Filter { types: vec![event.as_str().to_owned()], ..Filter::default() },
            secrets: Secrets::one(SigningSecret::new(rand::random())),
            state: State::Active,
            since: now,
            created_at: now,
            failing_since: None,
        };
        store.add_endpoint(&endpoint).await?;
        store.shutdown().await;
        let (sender, delays) = mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(serve(listener, sender));
        Ok(Self { delays, _server: server })
    }

    /// The delay of the next event.
    pub async fn next(&mut self) -> anyhow::Result<Duration> {
        let delay = tokio::time::timeout(TIMEOUT, self.delays.recv()).await.context("no event")?;
        delay.context("the endpoint has ended")
    }
}

async fn serve(listener: TcpListener, delays: mpsc::UnboundedSender<Duration>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let delays = delays.clone();
        let service = service_fn(move |request| accept(request, delays.clone()));
        connections.spawn(async move {
            // A worker may close its connection at any time.
            let _closed = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn accept(
    request: Request<Incoming>,
    delays: mpsc::UnboundedSender<Duration>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    if let Ok(body) = request.into_body().collect().await
        && let Some(delay) = since_document(&body.to_bytes())
    {
        delays.send(delay).ok(); // The measurement may have ended.
    }
    Ok(Response::new(Empty::new()))
}

/// Time since the write of the document of an event. `None`: the body is no event.
pub fn since_document(event: &[u8]) -> Option<Duration> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let delay = Timestamp::now().as_millisecond() - event["data"]["revision"].as_i64()?;
    Some(Duration::from_millis(u64::try_from(delay).ok()?))
}
