//! A receiver of webhooks: a real HTTP server that records requests and answers as the test says.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The status of the answer.
    pub status: u16,
}

impl Received {
    /// The value of a header. Empty if the request does not have it.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// How the receiver answers.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
    /// Wait before the answer.
    pub delay: Duration,
}

impl Answer {
    /// An answer with this status and without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), delay: Duration::ZERO }
    }

    /// The same answer with this header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The same answer with this body.
    pub fn saying(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// No answer within the time that a worker waits.
    pub fn never() -> Self {
        Self { delay: Duration::from_hours(1), ..Self::status(200) }
    }
}

type Rule = Arc<dyn Fn(usize) -> Answer + Send + Sync>;

/// A running receiver. It ends when it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    rule: Arc<Mutex<Rule>>,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Starts a receiver that answers the request number `n`, from 0, with `rule(n)`.
    pub async fn start(rule: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, rule)
    }

    /// Starts a receiver on `listener`.
    pub fn on(listener: TcpListener, rule: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let rule: Arc<Mutex<Rule>> = Arc::new(Mutex::new(Arc::new(rule)));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, received.clone(), rule.clone()));
        Self { address, received, rule, _server: server }
    }

    /// A receiver that accepts everything.
    pub async fn accepting() -> Self {
        Self::start(|_| Answer::status(200)).await
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers later requests by this rule.
    pub fn answer(&self, rule: impl Fn(usize) -> Answer + Send + Sync + 'static) {
        *self.rule.lock().unwrap() = Arc::new(rule);
    }

    /// The requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The values of the header `webhook-id`, in the order of requests.
    pub fn ids(&self) -> Vec<String> {
        self.received().iter().map(|request| request.header("webhook-id").to_owned()).collect()
    }
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Vec<Received>>>, rule: Arc<Mutex<Rule>>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (received, rule) = (received.clone(), rule.clone());
        let service = service_fn(move |request| answer(request, received.clone(), rule.clone()));
        connections.spawn(async move {
            // A client may close its connection at any time.
            let _closed = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Received>>>,
    rule: Arc<Mutex<Rule>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let answer = {
        let mut received = received.lock().unwrap();
        let answer = rule.lock().unwrap()(received.len());
        let status = answer.status;
        received.push(Received { at: Instant::now(), headers: head.headers, body, status });
        answer
    };
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::new(answer.body.into())).unwrap())
}
