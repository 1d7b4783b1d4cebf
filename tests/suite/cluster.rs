//! Clusters: three brokers with three copies of every stream, and a replica set of three databases. Leaders
//! are killed, frozen and cut off under load. The gateway accepts a webhook only if a majority of brokers has
//! stored it.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_lab::link::{Link, Mode};
use aftercall_local::{nats, ports, server::Server};
use futures_util::future::join_all;
use mongodb::bson::doc;
use serde_json::json;

use crate::harness::{self, CALL_STATUS, Load, TestStack, nothing_lost, scaled_setting, until};

/// The second and third broker (the first one belongs to the stack), and the links between the three.
struct Brokers {
    others: [Server; 2],
    /// From first to second, from first to third, from second to third.
    links: [Link; 3],
}

const NAMES: [&str; 3] = ["one", "two", "three"];

/// A stack with three brokers.
async fn stack(publish_timeout: Duration) -> (TestStack, Brokers) {
    let cluster = [(); 3].map(|()| ports::free().unwrap());
    let links = [
        Link::to(cluster[1]).await.unwrap(),
        Link::to(cluster[2]).await.unwrap(),
        Link::to(cluster[2]).await.unwrap(),
    ];
    let options = |n: usize, routes: &[&Link]| {
        let routes: Vec<_> =
            routes.iter().map(|link| format!("\"nats://127.0.0.1:{}\"", link.port())).collect();
        // The advertised address is unused, so that the brokers connect over the links only.
        let extra = format!(
            "ping_interval: \"1s\"\nping_max: 2\ncluster {{\n  name: aftercall\n  listen: \"127.0.0.1:{}\"\n  \
             advertise: \"127.0.0.1:9\"\n  no_advertise: true\n  pool_size: -1\n  routes: [{}]\n}}",
            cluster[n],
            routes.join(", ")
        );
        nats::Options { name: NAMES[n].to_owned(), extra, ..nats::Options::default() }
    };
    let second = harness::nats(options(1, &[&links[2]])).await;
    // A broker needs a route to start a cluster. This route leads to the broker itself, which ignores it.
    let third = harness::nats(options(2, &[&links[2]])).await;
    // The first broker gets a fixed port, because gateway and worker need the URLs of all brokers.
    let first = nats::Options { port: ports::free().unwrap(), ..options(0, &[&links[0], &links[1]]) };
    let urls = format!("nats://127.0.0.1:{},{},{}", first.port, second.url(), third.url());
    let stack = TestStack::builder()
        .nats(first)
        .gateway_env("NATS_URL", &urls)
        .gateway_env("STREAM_REPLICAS", "3")
        .gateway_env("PUBLISH_TIMEOUT", &scaled_setting(publish_timeout))
        .worker_env("NATS_URL", &urls)
        .worker_env("STREAM_REPLICAS", "3")
        .start()
        .await;
    (stack, Brokers { others: [second, third], links })
}

impl Brokers {
    fn server<'a>(&'a mut self, stack: &'a mut TestStack, n: usize) -> &'a mut Server {
        if n == 0 { &mut stack.nats } else { &mut self.others[n - 1] }
    }

    /// The client URL of a broker.
    fn url(&self, stack: &TestStack, n: usize) -> String {
        if n == 0 { stack.nats.url() } else { self.others[n - 1].url() }
    }

    /// The leader of the stream of webhooks as the brokers `asked` report it. With `whole`, only if all
    /// copies are up to date.
    async fn leader(&self, stack: &TestStack, asked: &[usize], whole: bool) -> Option<usize> {
        let urls: Vec<_> = asked.iter().map(|n| self.url(stack, *n)).collect();
        let client = async_nats::jetstream::new(async_nats::connect(urls).await.ok()?);
        let found = client.get_stream(streams::WEBHOOKS).await.ok()?;
        let cluster = found.cached_info().cluster.clone()?;
        let is_whole = cluster.replicas.len() == 2 && cluster.replicas.iter().all(|copy| copy.current);
        NAMES.iter().position(|name| (is_whole || !whole) && cluster.leader.as_deref() == Some(name))
    }

    /// Waits until all copies are up to date. Returns the leader.
    async fn settled_leader(&self, stack: &TestStack) -> usize {
        until("all copies are up to date", async || self.leader(stack, &[0, 1, 2], true).await).await
    }

    /// Waits until the other two brokers have a leader among them.
    async fn elected_without(&self, stack: &TestStack, n: usize) {
        let others: Vec<_> = (0..NAMES.len()).filter(|other| *other != n).collect();
        until("the other brokers elect a leader", async || {
            self.leader(stack, &others, false).await.filter(|leader| *leader != n)
        })
        .await;
    }

    /// Cuts a broker off from the others.
    fn cut_off(&self, n: usize) {
        let of = [[0, 1], [0, 2], [1, 2]];
        for link in of[n] {
            self.links[link].set(Mode::Cut);
        }
    }

    /// Opens all links.
    fn heal(&self) {
        self.links.iter().for_each(|link| link.set(Mode::Open));
    }
}

#[tokio::test]
async fn no_accepted_webhook_is_lost_when_broker_leaders_are_killed_frozen_or_cut_off() {
    let (mut stack, mut brokers) = stack(Duration::from_secs(2)).await;
    let load = Load::on(&stack);
    let faults = async {
        load.more(100).await;
        let leader = brokers.settled_leader(&stack).await;
        brokers.server(&mut stack, leader).kill().await.unwrap();
        brokers.elected_without(&stack, leader).await;
        load.more(100).await;
        brokers.server(&mut stack, leader).restart().await.unwrap();

        let leader = brokers.settled_leader(&stack).await;
        brokers.cut_off(leader);
        // A gateway that is connected to this broker accepts nothing in the meantime.
        brokers.elected_without(&stack, leader).await;
        brokers.heal();
        load.more(100).await;

        let leader = brokers.settled_leader(&stack).await;
        brokers.server(&mut stack, leader).freeze().unwrap();
        brokers.elected_without(&stack, leader).await;
        brokers.server(&mut stack, leader).thaw().unwrap();
        load.more(100).await;
        brokers.settled_leader(&stack).await;
        load.stop();
    };
    let (accepted, ()) = tokio::join!(load.run(), faults);
    nothing_lost(&stack, &accepted).await;
}

#[tokio::test]
async fn without_a_majority_of_brokers_no_webhook_is_accepted() {
    let (stack, mut brokers) = stack(Duration::from_secs(1)).await;
    stack.webhook_until_accepted(&json!({ "event_type": "call.busy", "call_id": "before" })).await;
    for server in &mut brokers.others {
        server.kill().await.unwrap();
    }
    let posts = (0..10).map(|n| {
        let body = json!({ "event_type": "call.busy", "call_id": format!("c{n}") });
        stack.post_to(CALL_STATUS, body.to_string())
    });
    for answer in join_all(posts).await {
        assert_eq!((answer.status, answer.code()), (503, "not_stored"));
    }
    brokers.others[0].restart().await.unwrap();
    for n in 0..10 {
        stack.webhook_until_accepted(&json!({ "event_type": "call.busy", "call_id": format!("c{n}") })).await;
    }
    for n in 0..10 {
        stack.until_call(&format!("c{n}"), doc! { "status": "busy" }).await;
    }
    assert_eq!(stack.count(doc! { "history.1": { "$exists": true } }).await, 0);
}

#[tokio::test]
async fn nothing_is_lost_when_database_primaries_are_killed_or_frozen() {
    let (mut servers, uri) = harness::mongod_set().await;
    let stack = TestStack::builder().mongodb(uri.clone()).start().await;
    let load = Load::on(&stack);
    let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
    let primary = async || {
        until("the replica set has a primary", async || {
            let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.ok()?;
            hello.get_str("primary").ok().map(str::to_owned)
        })
        .await
    };
    let faults = async {
        for frozen in [false, true] {
            load.more(100).await;
            let leader = primary().await;
            let leader = servers.iter_mut().find(|server| server.url() == leader).unwrap();
            if frozen {
                leader.freeze().unwrap();
                tokio::time::sleep(Duration::from_secs(4)).await; // Longer than an election takes.
                leader.thaw().unwrap();
            } else {
                leader.kill().await.unwrap();
                load.more(100).await;
                primary().await;
                leader.restart().await.unwrap();
            }
        }
        load.more(100).await;
        load.stop();
    };
    let (accepted, ()) = tokio::join!(load.run(), faults);
    nothing_lost(&stack, &accepted).await;
    assert_eq!(stack.count(doc! { "history.1": { "$exists": true } }).await, 0, "an event was applied twice");
}
