//! The Markdown files of the repository: their commands work, their links lead somewhere, and their tables agree
//! with the code.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use aftercall_common::contract::provider::Provider;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{TestStack, until};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const README: &str = include_str!("../../README.md");
const RUNBOOK: &str = include_str!("../../deploy/RUNBOOK.md");
const OPERATIONS: &str = include_str!("../../deploy/OPERATIONS.md");
const CONFIGURATION: &str = include_str!("../../deploy/CONFIGURATION.md");
/// Most words of `README.md`: a newcomer reads it in one sitting. Reference belongs to `deploy/`.
const MAX_README_WORDS: usize = 1300;

/// The Markdown files that people read: those of the root, of `deploy/`, of the chart, of the recipes and of
/// `.github/`.
fn documents() -> Vec<PathBuf> {
    let folders =
        ["", "deploy", "deploy/helm", "deploy/recipes", ".github"].map(|folder| Path::new(ROOT).join(folder));
    let files = folders.into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let documents: Vec<_> = files.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    assert!(documents.len() >= 10, "{documents:?}");
    documents
}

/// The blocks of code in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("\n```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

/// The anchor that hosts of repositories give a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_readme_stays_short() {
    let words = README.split_whitespace().count();
    assert!(words <= MAX_README_WORDS, "README.md has {words} words, at most {MAX_README_WORDS} are allowed");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let found = heading.is_empty()
                || std::fs::read_to_string(&target).is_ok_and(|text| {
                    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
                    headings
                        .map(|line| line.trim_start_matches('#').trim())
                        .any(|title| anchor(title) == heading)
                });
            if !target.exists() || !found {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The texts that a document names as log lines: code behind the words "log line" or "log lines".
fn log_lines(text: &str) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let named =
        text.split("log line").skip(1).filter_map(|rest| rest.trim_start_matches('s').strip_prefix(" `"));
    named.filter_map(|rest| Some(rest.split_once('`')?.0.to_owned())).collect()
}

#[test]
fn every_log_line_that_operators_look_for_is_in_the_code() {
    let files = ["common", "ingest", "worker"].map(|part| sources(&Path::new(ROOT).join(part).join("src")));
    let code: Vec<_> = files.concat().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let lines = [log_lines(RUNBOOK), log_lines(OPERATIONS)].concat();
    assert!(lines.len() >= 6, "{lines:?}");
    for line in lines {
        assert!(code.iter().any(|text| text.contains(&line)), "no program logs {line:?}");
    }
}

/// The files of Rust below `folder`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

/// The variables that the struct `name` of a crate reads: its fields in upper case.
fn variables(part: &str, name: &str) -> BTreeSet<String> {
    let start = format!("\npub struct {name} {{\n");
    let files = sources(&Path::new(ROOT).join(part).join("src"));
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let found: Vec<_> = texts
        .filter(|text| text.contains("\n#[serde(default)]\n"))
        .filter_map(|text| {
            let fields = text.split_once(&start)?.1;
            Some(fields.split("\n}\n").next()?.to_owned())
        })
        .collect();
    let [fields] = &found[..] else { panic!("{} structs {name} in {part}", found.len()) };
    // A field that serde skips is not a variable.
    let mut names = BTreeSet::new();
    let mut is_skipped = false;
    for line in fields.lines().map(str::trim) {
        let is_field = !line.starts_with(['/', '#']);
        if let Some((field, _)) = line.trim_start_matches("pub ").split_once(':').filter(|_| is_field) {
            if !is_skipped {
                names.insert(field.to_uppercase());
            }
            is_skipped = false;
        } else if line == "#[serde(skip)]" {
            is_skipped = true;
        }
    }
    names
}

/// The variables in the table below a heading of `CONFIGURATION.md`.
fn described(heading: &str) -> BTreeSet<String> {
    let start = format!("\n## {heading}\n");
    let section = CONFIGURATION.split_once(&start).unwrap_or_else(|| panic!("no heading {heading}")).1;
    let rows = section.split("\n## ").next().unwrap_or_default().lines();
    let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn configuration_describes_every_variable_and_no_other() {
    // Read before the structs, by both programs.
    let with_file = |mut names: BTreeSet<String>| {
        names.insert("ENV_FILE".to_owned());
        names
    };
    assert_eq!(described("Gateway"), variables("ingest", "Config"));
    let mut policy = with_file(variables("ingest", "Policy"));
    policy.extend(Provider::ALL.iter().map(|provider| provider.secret_variable().to_owned()));
    assert_eq!(described("Gateway: who may send"), policy);
    assert_eq!(described("Worker"), with_file(variables("worker", "Config")));
}

#[tokio::test]
async fn the_first_webhook_of_the_readme_gives_the_document_it_shows() {
    let stack = TestStack::start().await;
    let shell = async |script: &str| -> Value {
        let script = script.replace("http://localhost:8080", &stack.base);
        let script = format!("set -e\ncurl() {{ command curl --silent --fail-with-body \"$@\"; }}\n{script}");
        let output = Command::new("sh").args(["-c", &script]).kill_on_drop(true).output().await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    };
    let scripts: Vec<_> =
        blocks(README, "sh").into_iter().filter(|block| block.starts_with("curl ")).collect();
    let [webhook, lookup] = scripts[..] else { panic!("a webhook and a lookup: {scripts:?}") };
    let [shown] = blocks(README, "json")[..] else { panic!("one document") };
    let shown: Value = serde_json::from_str(shown).unwrap();

    let accepted = shell(webhook).await;
    assert_eq!((&accepted["accepted"], &accepted["duplicate"]), (&json!(true), &json!(false)));
    stack.all_acknowledged().await;
    let answer = until("the call is known", async || {
        let answer = shell(lookup).await;
        answer["status"].is_string().then_some(answer)
    })
    .await;
    for (field, value) in shown.as_object().unwrap() {
        assert_eq!(&answer[field], value, "{field}");
    }
}

#[tokio::test]
async fn operations_and_runbook_explain_every_reason_for_dead_letters() {
    let stack = TestStack::start().await;
    let page = stack.workers[0].metrics(&stack.http).await;
    let series = page.lines().filter_map(|line| line.strip_prefix("aftercall_dead_letters_total{reason=\""));
    let reasons: Vec<_> = series.filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    assert!(reasons.len() >= 10, "{reasons:?}");
    for reason in reasons {
        for (name, text) in [("OPERATIONS.md", OPERATIONS), ("RUNBOOK.md", RUNBOOK)] {
            assert!(text.contains(&format!("`{reason}`")), "deploy/{name} does not explain {reason}");
        }
    }
}
