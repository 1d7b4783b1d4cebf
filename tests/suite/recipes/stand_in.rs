//! A server in place of a vendor's.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A request to the server.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub authorization: String,
    pub content_type: String,
    /// The signature of the provider.
    pub elevenlabs_signature: String,
    /// The bytes of the body.
    pub raw: Bytes,
    /// The body as JSON.
    pub body: Value,
}

/// A running server. It ends when it is dropped.
pub struct StandIn {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: CancellationToken,
}

impl StandIn {
    /// Starts a server that answers each request with status and text by `answer`.
    pub async fn start(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(answer));
        let seen = Arc::clone(&asked);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.clone().spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    async move {
                        let asked = read(request).await;
                        let (status, text) = answer(&asked);
                        seen.lock().unwrap().push(asked);
                        let answer = Response::builder().status(status).body(Full::new(Bytes::from(text)));
                        Ok::<_, Infallible>(answer.unwrap())
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(socket), service);
                tasks.spawn(connection);
            }
        }));
        Self { url, asked, stop }
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn read(request: Request<Incoming>) -> Asked {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (method, path) = (request.method().to_string(), request.uri().to_string());
    let (authorization, content_type) = (header("authorization"), header("content-type"));
    let elevenlabs_signature = header("elevenlabs-signature");
    let raw = request.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&raw).unwrap_or_default();
    Asked { method, path, authorization, content_type, elevenlabs_signature, raw, body }
}
