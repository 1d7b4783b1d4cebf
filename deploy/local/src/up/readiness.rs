//! Waits until a process answers.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use crate::{client::http_client, process::Process};

/// Time that a process gets to be ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Waits until `url` answers with success. Fails if the process ends first, or after a minute.
pub async fn wait_until_answers(process: &mut Process, url: &str) -> anyhow::Result<()> {
    let client = http_client(Duration::from_secs(5))?;
    let answers = async || client.get(url).send().await.is_ok_and(|reply| reply.status().is_success());
    process.until(READY_TIMEOUT, answers).await
}

/// The address by which this machine reaches a listener on `address`.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}
