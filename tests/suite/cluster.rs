//! Three of each: brokers with three copies of every stream, databases as one replica set. Leaders are killed,
//! frozen and cut off under load; a 200 is given only for what a majority has.

use std::time::Duration;

use aftercall_common::contract::streams;
use aftercall_lab::link::{Link, Mode};
use aftercall_local::{nats, ports, server::Server};
use futures_util::future::join_all;
use mongodb::bson::doc;
use serde_json::json;

use crate::{
    durability::{Load, nothing_lost},
    harness::{self, CALL_STATUS, Setup, Stack, until},
};

/// Two more brokers beside the one of the stack, and the links between the three.
struct Brokers {
    others: [Server; 2],
    /// From the first to the second, from the first to the third, from the second to the third.
    links: [Link; 3],
}

const NAMES: [&str; 3] = ["one", "two", "three"];

/// A stack on three brokers.
async fn stack(publish_timeout: &str) -> (Stack, Brokers) {
    let cluster = [(); 3].map(|()| ports::free().unwrap());
    let links = [
        Link::to(cluster[1]).await.unwrap(),
        Link::to(cluster[2]).await.unwrap(),
        Link::to(cluster[2]).await.unwrap(),
    ];
    let options = |n: usize, routes: &[&Link]| {
        let routes: Vec<_> =
            routes.iter().map(|link| format!("\"nats://127.0.0.1:{}\"", link.port())).collect();
        // What they tell each other of leads nowhere: they meet over the links, or not at all.
        let extra = format!(
            "ping_interval: \"1s\"\nping_max: 2\ncluster {{\n  name: aftercall\n  listen: \"127.0.0.1:{}\"\n  \
             advertise: \"127.0.0.1:9\"\n  no_advertise: true\n  pool_size: -1\n  routes: [{}]\n}}",
            cluster[n],
            routes.join(", ")
        );
        nats::Options { name: NAMES[n].to_owned(), extra, ..nats::Options::default() }
    };
    let second = harness::nats(options(1, &[&links[2]])).await;
    // It needs a route to believe in the cluster: one to itself, which it ignores.
    let third = harness::nats(options(2, &[&links[2]])).await;
    // The address of the first is known once it runs: the services learn it from the stack.
    let first = nats::Options { port: ports::free().unwrap(), ..options(0, &[&links[0], &links[1]]) };
    let urls = format!("nats://127.0.0.1:{},{},{}", first.port, second.url(), third.url());
    let stack = Setup::default()
        .nats(first)
        .gateway_env("NATS_URL", &urls)
        .gateway_env("STREAM_REPLICAS", "3")
        .gateway_env("PUBLISH_TIMEOUT", publish_timeout)
        .worker_env("NATS_URL", &urls)
        .worker_env("STREAM_REPLICAS", "3")
        .start()
        .await;
    (stack, Brokers { others: [second, third], links })
}

impl Brokers {
    fn server<'a>(&'a mut self, stack: &'a mut Stack, n: usize) -> &'a mut Server {
        if n == 0 { &mut stack.nats } else { &mut self.others[n - 1] }
    }

    /// Where clients connect to one of them.
    fn url(&self, stack: &Stack, n: usize) -> String {
        if n == 0 { stack.nats.url() } else { self.others[n - 1].url() }
    }

    /// Who leads the stream of webhooks, by the word of those `asked`; with `whole`, once all copies are up to
    /// date.
    async fn leader(&self, stack: &Stack, asked: &[usize], whole: bool) -> Option<usize> {
        let urls: Vec<_> = asked.iter().map(|n| self.url(stack, *n)).collect();
        let client = async_nats::jetstream::new(async_nats::connect(urls).await.ok()?);
        let found = client.get_stream(streams::WEBHOOKS).await.ok()?;
        let cluster = found.cached_info().cluster.clone()?;
        let is_whole = cluster.replicas.len() == 2 && cluster.replicas.iter().all(|copy| copy.current);
        NAMES.iter().position(|name| (is_whole || !whole) && cluster.leader.as_deref() == Some(name))
    }

    /// Who leads, once all copies are up to date.
    async fn settled_leader(&self, stack: &Stack) -> usize {
        until("all copies are up to date", async || self.leader(stack, &[0, 1, 2], true).await).await
    }

    /// Waits until the two beside `n` have another leader.
    async fn elected_without(&self, stack: &Stack, n: usize) {
        let others: Vec<_> = (0..NAMES.len()).filter(|other| *other != n).collect();
        until("the others elect one of them", async || {
            self.leader(stack, &others, false).await.filter(|leader| *leader != n)
        })
        .await;
    }

    /// Cuts one of them off from the others.
    fn cut_off(&self, n: usize) {
        let of = [[0, 1], [0, 2], [1, 2]];
        for link in of[n] {
            self.links[link].set(Mode::Cut);
        }
    }

    fn heal(&self) {
        self.links.iter().for_each(|link| link.set(Mode::Open));
    }
}

#[tokio::test]
async fn leaders_of_the_broker_killed_frozen_and_cut_off_lose_no_200() {
    let (mut stack, mut brokers) = stack("2s").await;
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
        // Who is connected to this one gets no 200 meanwhile.
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
async fn without_a_majority_of_brokers_there_is_no_200() {
    let (stack, mut brokers) = stack("1s").await;
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
async fn primaries_of_the_database_killed_and_frozen_lose_nothing() {
    let (mut servers, uri) = harness::mongod_set().await;
    let stack = Setup::default().mongodb(uri.clone()).start().await;
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
