//! Exports that are interrupted.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use mongodb::bson::doc;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{Stored, call, errors};
use crate::harness::{until, within};

/// A path for the file of an export, in a folder that ends with it.
fn file() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.csv");
    let text = path.to_str().unwrap().to_owned();
    (folder, path, text)
}

/// The state beside an unfinished file.
fn state(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path.with_added_extension("state")).ok()?).ok()
}

#[tokio::test]
async fn killed_export_continues_without_loss_and_without_repetition() {
    const CALLS: i64 = 60_000;
    let stored = Stored::empty("export_kill").await;
    for first in (0..CALLS).step_by(5000) {
        stored.insert((first..first + 5000).map(call).collect()).await;
    }
    let whole = stored.export(&["--until", "2026-11-01T00:00:00Z"]).await;
    let (_folder, path, output) = file();
    let args = ["--until", "2026-11-01T00:00:00Z", "--output", &output, "--resume"];
    let written = || std::fs::metadata(path.with_added_extension("partial")).map_or(0, |file| file.len());
    let mut kills = 0;
    while !path.exists() {
        let (state_before, written_before) = (state(&path), written());
        let mut export = stored.command(&args).spawn().unwrap();
        // In turn before and after the first state of a run. Then the file goes on after this state.
        until("the export has come further, or ends", async || {
            let is_further = match kills {
                0 | 3 => written() > written_before + 1_000_000,
                1 | 2 | 4 => state(&path) != state_before && written() > written_before + 1_000_000,
                _ => false,
            };
            (is_further || export.try_wait().unwrap().is_some()).then_some(())
        })
        .await;
        if export.try_wait().unwrap().is_none() {
            export.kill().await.unwrap(); // SIGKILL
            kills += 1;
        }
    }
    assert!(kills >= 2, "the export was killed {kills} times only");
    let exported = std::fs::read_to_string(&path).unwrap();
    assert!(exported == whole, "{} and {} bytes differ", exported.len(), whole.len());
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Interrupts an export after some calls.
async fn interrupted(stored: &Stored, path: &Path, args: &[&str]) {
    let export = stored.command(args).spawn().unwrap();
    let partial = path.with_added_extension("partial");
    until("some calls are written", async || {
        std::fs::metadata(&partial).ok().filter(|file| file.len() > 100_000).map(drop)
    })
    .await;
    let process = Pid::from_raw(export.id().unwrap().cast_signed());
    kill(process, Signal::SIGINT).unwrap();
    let output = within("the export ends", export.wait_with_output()).await.unwrap();
    let errors = errors(&output);
    assert!(
        output.status.code() == Some(1)
            && errors.contains(" calls; continue with the same command and --resume"),
        "{errors}"
    );
    assert!(state(path).unwrap()["calls"].as_u64() > Some(0));
}

#[tokio::test]
async fn export_that_cannot_be_continued_says_why() {
    let stored = Stored::empty("export_refusals").await;
    for first in (0..30_000).step_by(5000) {
        stored.insert((first..first + 5000).map(call).collect()).await;
    }
    let (_folder, path, output) = file();
    interrupted(&stored, &path, &["--output", &output]).await;
    let refused = async |args: &[&str], reason: &str| {
        let output = stored.run(args).await;
        let errors = errors(&output);
        assert!(output.status.code() == Some(1) && errors.contains(reason), "{args:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    };
    refused(&["--output", &output], "is an interrupted export; continue it with --resume").await;
    for other in [&["--show-numbers"][..], &["--format", "ndjson"], &["--agent-id", "agent_1"]] {
        let args = [&["--output", &output, "--resume"], other].concat();
        refused(&args, "it was begun with other options").await;
    }
    let partial = std::fs::File::options().append(true).open(path.with_added_extension("partial")).unwrap();
    partial.lock().unwrap();
    refused(&["--output", &output, "--resume"], "another process is writing").await;
    partial.unlock().unwrap();
    partial.set_len(10).unwrap();
    refused(&["--output", &output, "--resume"], "cannot be continued: it has 10 bytes").await;
    std::fs::write(path.with_added_extension("state"), "{}").unwrap();
    refused(&["--output", &output, "--resume"], "holds no state of an export").await;
    std::fs::remove_file(path.with_added_extension("state")).unwrap();
    assert!(stored.run(&["--output", &output, "--resume"]).await.status.success(), "it begins again");
    let calls = csv::Reader::from_path(&path).unwrap().into_records().count();
    assert_eq!(calls, 30_000);
    refused(&["--output", &output], "exists already").await;
    refused(&["--output", &output, "--resume"], "exists already").await;
}

#[tokio::test]
async fn call_whose_time_becomes_earlier_meanwhile_is_not_lost() {
    const CALLS: i64 = 20_000;
    let stored = Stored::empty("export_moving").await;
    for first in (0..CALLS).step_by(5000) {
        stored.insert((first..first + 5000).map(call).collect()).await;
    }
    let (_folder, path, output) = file();
    let mut export = stored.command(&["--output", &output]).spawn().unwrap();
    let mut n = 0;
    while export.try_wait().unwrap().is_none() {
        // From all parts of the period, by ten seconds: to before the oldest call.
        n = (n + 7919) % CALLS;
        let earlier = doc! { "$set": { "createdAt": super::created(n - 100_000) } };
        stored.calls.update_one(doc! { "callId": format!("CA{n:032x}") }, earlier).await.unwrap();
    }
    assert!(export.wait().await.unwrap().success());
    let mut calls: Vec<String> = csv::Reader::from_path(&path)
        .unwrap()
        .into_records()
        .map(|row| row.unwrap().get(1).unwrap().to_owned())
        .collect();
    calls.sort();
    calls.dedup();
    assert_eq!(i64::try_from(calls.len()).unwrap(), CALLS);
}
