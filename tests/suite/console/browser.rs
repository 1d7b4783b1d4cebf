//! A real Chromium, driven over `WebDriver`.
//!
//! Where it is not installed these tests say so and end, unless `AFTERCALL_TEST_BROWSER=required` is set,
//! as CI sets it.

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    path::PathBuf,
};

use aftercall_local::{
    ports,
    process::{Command, Process},
};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::{
    By, ChromiumLikeCapabilities as _, DesiredCapabilities, LoggingPrefsLogLevel, WebDriver, WebElement,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::harness::{Deadline, launcher, python, test_timeout, until};

/// Browsers at a time: each is several processes.
static BROWSERS: Semaphore = Semaphore::const_new(2);

const WIDE: (u32, u32) = (1280, 900);

/// A browser with one window.
pub struct Browser {
    pub driver: WebDriver,
    chromedriver: Process,
    _profile: TempDir,
    _turn: SemaphorePermit<'static>,
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The programs, or none where they are not installed and need not be.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let found = find("chromium").or_else(|| find("google-chrome")).zip(find("chromedriver"));
    if found.is_none() {
        let required = std::env::var_os("AFTERCALL_TEST_BROWSER").is_some_and(|value| value == "required");
        assert!(!required, "AFTERCALL_TEST_BROWSER=required, but chromium and chromedriver are not on PATH");
        eprintln!("SKIPPED: needs chromium and chromedriver on PATH (Debian: chromium, chromium-driver)");
    }
    found
}

/// Runs `test` in a browser and closes it, however the test ends.
pub async fn with_browser(test: impl AsyncFnOnce(&Browser)) {
    let Some((chromium, chromedriver)) = programs() else { return };
    let browser = Browser::start(chromium, chromedriver).await;
    let ended = AssertUnwindSafe(test(&browser)).catch_unwind().await;
    browser.close().await;
    if let Err(panic) = ended {
        resume_unwind(panic);
    }
}

impl Browser {
    async fn start(chromium: PathBuf, chromedriver: PathBuf) -> Self {
        let turn = BROWSERS.acquire().await.unwrap();
        let profile = tempfile::Builder::new().prefix("aftercall-chromium-").tempdir().unwrap();
        let port = ports::free().unwrap();
        let command = Command::new("chromedriver", chromedriver, profile.path().join("chromedriver.log"));
        let command = command.arg(format!("--port={port}")).arg("--silent").remove(profile.path());
        let grace = std::time::Duration::from_secs(5); // In which it ends its browser.
        let mut chromedriver = launcher().grace(grace).spawn(&command).await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let http = aftercall_local::http_client(test_timeout()).unwrap();
        let answers = async || http.get(format!("{url}/status")).send().await.is_ok();
        chromedriver.until(test_timeout(), answers).await.unwrap();

        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(chromium.to_str().unwrap()).unwrap();
        for argument in [
            "--headless",
            // It ends when the pipe does, however its driver ends.
            "--remote-debugging-pipe",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &format!("--window-size={},{}", WIDE.0, WIDE.1),
            &format!("--user-data-dir={}", profile.path().join("profile").display()),
        ] {
            wanted.add_arg(argument).unwrap();
        }
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let driver = WebDriver::new(&url, wanted).await.unwrap();
        Self { driver, chromedriver, _profile: profile, _turn: turn }
    }

    async fn close(mut self) {
        self.driver.quit().await.unwrap();
        self.chromedriver.stop().await.unwrap();
    }

    /// Opens a page. Its live connection, if any, may still be opening.
    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Opens a page and waits until it hears of changes.
    pub async fn open_live(&self, url: &str) {
        self.open(url).await;
        self.until_live().await;
    }

    pub async fn until_live(&self) {
        self.see("#link[data-state=live]").await;
    }

    /// The element, once it is there and seen.
    pub async fn see(&self, selector: &str) -> WebElement {
        until(&format!("{selector} is seen"), async || {
            let found = self.driver.find(By::Css(selector)).await.ok()?;
            found.is_displayed().await.unwrap_or(false).then_some(found)
        })
        .await
    }

    /// Waits until the element's text holds `text`.
    pub async fn read(&self, selector: &str, text: &str) {
        let mut last = String::new();
        let mut deadline = Deadline::start();
        while !deadline.has_passed() {
            if let Ok(found) = self.driver.find(By::Css(selector)).await
                && let Ok(found) = found.text().await
            {
                if found.contains(text) {
                    return;
                }
                last = found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("{selector} never said {text:?}, but {last:?}");
    }

    /// Elements there are.
    pub async fn count(&self, selector: &str) -> usize {
        self.driver.find_all(By::Css(selector)).await.unwrap().len()
    }

    /// Types over what stands in a field.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.see(selector).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks.
    pub async fn click(&self, selector: &str) {
        self.see(selector).await.click().await.unwrap();
    }

    /// Where the browser is, without the host.
    pub async fn address(&self) -> String {
        let url = self.driver.current_url().await.unwrap();
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// The value of an expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        let answer = self.driver.execute(format!("return {expression}"), vec![]).await.unwrap();
        answer.json().clone()
    }

    /// A command of the developer tools.
    async fn tell(&self, command: &str, parameters: Value) {
        self.driver.cdp().send_raw(command, parameters).await.unwrap();
    }

    /// Light or dark.
    pub async fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tell("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// A screen like that of a telephone, or like that of a desk.
    pub async fn narrow(&self, narrow: bool) {
        let (width, height) = if narrow { (390, 844) } else { WIDE };
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": narrow });
        self.tell("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Keeps a picture of the page in `target/tmp/console`, for whoever wants to look.
    pub async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.driver.screenshot_as_png().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// What the page complained about since the last time: errors of scripts, what its policy forbade.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter().map(|entry| format!("{entry:?}")).filter(|line| !line.contains("favicon")).collect()
    }

    /// Findings of axe-core that are serious or worse, each with where it is.
    pub async fn serious_findings(&self) -> Vec<String> {
        let axe = python::axe().await;
        // Not through the page, whose policy lets nothing in.
        self.driver.execute(format!("{axe}; return true"), vec![]).await.unwrap();
        let run = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations), (error) => done([{ impact: 'critical', id: String(error), nodes: [] }]));";
        let found = self.driver.execute_async(run, vec![]).await.unwrap();
        let found = found.json().as_array().unwrap().clone();
        let serious =
            found.iter().filter(|finding| matches!(finding["impact"].as_str(), Some("serious" | "critical")));
        serious
            .map(|finding| {
                let nodes = finding["nodes"].as_array().unwrap().iter();
                let nodes: Vec<_> =
                    nodes.map(|node| format!("{} {}", node["html"], node["failureSummary"])).collect();
                format!("{}: {}", finding["id"], nodes.join("\n  "))
            })
            .collect()
    }
}
