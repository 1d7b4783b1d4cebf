//! TLS of the public listener, and the replacement of its certificate.

use std::{fs, path::Path};

use aftercall_local::process::Signal;
use rcgen::KeyPair;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Authority, CALL_STATUS, Service, TestStack, test_timeout, until, value, within};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn listener_speaks_tls_and_reloads_its_certificate() {
    let (old, new) = (Authority::new(2031), Authority::new(2032));
    let (certificate, key) = old.issue();
    let mut stack = TestStack::builder()
        .without_worker()
        .gateway_env("TLS_CERT_FILE", text(&certificate))
        .gateway_env("TLS_KEY_FILE", text(&key))
        .gateway_env("HEADER_TIMEOUT", "1s")
        .start()
        .await;
    let url = format!("https://{}{CALL_STATUS}", stack.public);
    let post = async |client: &reqwest::Client| {
        let body = json!({ "event_type": "call.busy", "call_id": "c" }).to_string();
        client.post(&url).body(body).send().await.ok().map(|answer| answer.status().as_u16())
    };
    assert_eq!(post(&old.client()).await, Some(200));
    assert_eq!(post(&new.client()).await, None, "an authority that is not trusted");
    assert_eq!(post(&stack.http).await, None, "an authority that is not known");
    let plain = stack.http.post(url.replace("https", "http")).body("{}").send().await;
    assert!(plain.is_err(), "{plain:?}");
    // A connection without a handshake is closed, and does not delay other connections.
    let silent = tokio::net::TcpStream::connect(stack.public).await.unwrap();
    assert_eq!(post(&old.client()).await, Some(200));
    let _closed_or_reset = within("the gateway closes the connection", silent.readable()).await;
    assert!(matches!(silent.try_read(&mut [0]), Ok(0) | Err(_)), "closed by the gateway");

    let expires = async || {
        value(&stack.gateway.metrics(&stack.http).await, "aftercall_tls_certificate_expiry_timestamp_seconds")
    };
    assert_eq!(expires().await, Some(1_935_619_200.0), "2031-05-04");

    // An open connection keeps its certificate.
    let keeper =
        aftercall_local::http_client_builder(test_timeout()).tls_certs_only([old.root()]).build().unwrap();
    assert_eq!(post(&keeper).await, Some(200));

    // A certificate that does not fit the key is not used.
    fs::write(&certificate, new.sign().0).unwrap();
    stack.gateway.signal(Signal::SIGHUP);
    until("the gateway refuses the certificate", async || {
        stack.gateway.log().contains("the certificate cannot be reloaded").then_some(())
    })
    .await;
    assert_eq!(post(&old.client()).await, Some(200));

    let (fresh, its_key) = new.sign();
    fs::write(&certificate, fresh).unwrap();
    fs::write(&key, its_key).unwrap();
    stack.gateway.signal(Signal::SIGHUP);
    until("the new certificate is used", async || post(&new.client()).await).await;
    assert_eq!(post(&old.client()).await, None);
    assert_eq!(
        value(
            &stack.gateway.metrics(&stack.http).await,
            "aftercall_tls_certificate_expiry_timestamp_seconds"
        ),
        Some(1_967_241_600.0),
        "2032-05-04"
    );
    assert!(stack.gateway.log().contains("TLS_CERT_FILE"), "{}", stack.gateway.log());
}

#[tokio::test]
async fn unfinished_handshakes_are_closed_after_the_timeout() {
    let authority = Authority::new(2031);
    let (certificate, key) = authority.issue();
    let setup = TestStack::builder().without_worker().gateway_env("HEADER_TIMEOUT", "300ms");
    let setup =
        setup.gateway_env("TLS_CERT_FILE", text(&certificate)).gateway_env("TLS_KEY_FILE", text(&key));
    let stack = setup.start().await;
    // Nothing, the beginning of a ClientHello of 512 bytes, and a request without TLS.
    for sent in [&b""[..], &[22, 3, 1, 2, 0, 1], b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let mut socket = TcpStream::connect(stack.public).await.unwrap();
        socket.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let _closed_or_reset =
            within("the gateway closes the connection", socket.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP"), "{sent:?}: {answer:?}");
    }
    let url = format!("https://{}/elsewhere", stack.public);
    assert_eq!(authority.client().get(url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn unusable_certificate_stops_the_start() {
    let authority = Authority::new(2031);
    let (certificate, key) = authority.issue();
    let foreign = authority.file("foreign.key");
    fs::write(&foreign, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    #[rustfmt::skip]
    let table = [
        (text(&certificate), text(&foreign),     "TLS_CERT_FILE"),
        (text(&certificate), text(&certificate), "TLS_KEY_FILE"),
        (text(&key),         text(&key),         "TLS_CERT_FILE"),
        (text(&certificate), "/nowhere/at.all",  "TLS_KEY_FILE"),
    ];
    for (certificate, key, variable) in table {
        let vars = [("TLS_CERT_FILE", certificate), ("TLS_KEY_FILE", key)];
        let (status, log) = Service::run_to_exit("gateway", &vars).await;
        assert_eq!(status, Some(78), "{log}");
        assert!(log.lines().last().unwrap().contains(&format!("{variable}: ")), "{log}");
    }
}
