//! Worker processes, which run the roles of a worker with the simulated ports.

use std::{sync::Arc, time::Duration};

use aftercall_common::contract::streams::consumer;
use aftercall_worker::{broker::consumer::Pull as _, ingestion, ports::Ports as _, roles::transcripts};
use async_nats::jetstream::AckKind;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{consumer::Source, ports::SimulatedPorts, process::Process, provider::Api, world::Simulation};

/// The setting `TRANSCRIPT_GIVE_UP_AFTER`.
const GIVE_UP_AFTER: Duration = Duration::from_mins(20);

/// Runs the roles until `stop`, and returns unprocessed messages to the broker.
async fn run(process: Arc<Process>, stop: CancellationToken) {
    let ports = SimulatedPorts::new(process.clone());
    let mut roles = JoinSet::new();
    roles.spawn({
        let (ports, process, stop) = (ports.clone(), process.clone(), stop.clone());
        async move {
            let mut source = Source { process, consumer: consumer::STATUS };
            let ports = Arc::new(ports);
            for message in ingestion::serve(ports.clone(), &mut source, &stop).await {
                ports.acknowledge(&message, AckKind::Nak(None)).await;
            }
        }
    });
    roles.spawn(async move {
        let api = Api::new(process.clone());
        let mut source = Source { process, consumer: consumer::TRANSCRIPTS };
        while let Some(messages) = source.next(&stop).await {
            for message in messages {
                transcripts::work(&ports, &api, GIVE_UP_AFTER, &message).await;
            }
        }
    });
    while roles.join_next().await.is_some() {}
}

/// Runs one worker until `end`. Chance kills, stops and freezes it; after a kill or a stop it starts again.
pub async fn run_until(sim: Simulation, name: String, end: CancellationToken) {
    while !end.is_cancelled() {
        let (process, stop) = (Process::new(sim.clone(), name.clone()), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(run(process.clone(), stop.clone()));
        loop {
            tokio::select! {
                biased;
                () = end.cancelled() => return,
                _ = tasks.join_next() => break,
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            if sim.happens(|faults| faults.killed) {
                sim.note(|| format!("{name} is killed"));
                break; // Dropping the set ends its tasks at their current `await`.
            }
            if sim.happens(|faults| faults.stopped) {
                sim.note(|| format!("{name} is told to stop"));
                stop.cancel();
            }
            if sim.happens(|faults| faults.frozen) {
                sim.note(|| format!("{name} is frozen"));
                process.freeze(Duration::from_secs(5 + sim.below(20)));
            }
        }
        drop(tasks);
        sim.pass(Duration::from_secs(2)).await;
    }
}
