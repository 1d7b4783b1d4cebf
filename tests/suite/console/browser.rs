//! A Chromium that the tests control with `WebDriver`.
//!
//! Without Chromium the tests print that they are skipped, and pass. With `AFTERCALL_TEST_BROWSER=required`,
//! as in CI, they fail.

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

/// Limit of running browsers, because each consists of several processes.
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

/// The paths of Chromium and its driver, or `None` if they are missing and not required.
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
        let grace = std::time::Duration::from_secs(5); // The time in which the driver ends its browser.
        let mut chromedriver = launcher().grace(grace).spawn(&command).await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let http = aftercall_local::http_client(test_timeout()).unwrap();
        let answers = async || http.get(format!("{url}/status")).send().await.is_ok();
        chromedriver.until(test_timeout(), answers).await.unwrap();

        let mut wanted = DesiredCapabilities::chrome();
        wanted.set_binary(chromium.to_str().unwrap()).unwrap();
        for argument in [
            "--headless",
            // With the pipe the browser ends whenever its driver ends.
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

    /// Opens a page. Its event stream may not be connected yet.
    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Opens a page and waits until its event stream is connected.
    pub async fn open_live(&self, url: &str) {
        self.open(url).await;
        self.until_live().await;
    }

    /// Waits until the event stream of the page is connected.
    pub async fn until_live(&self) {
        self.see("#link[data-state=live]").await;
    }

    /// Waits until the element is displayed, and returns it.
    pub async fn see(&self, selector: &str) -> WebElement {
        until(&format!("{selector} is displayed"), async || {
            let found = self.driver.find(By::Css(selector)).await.ok()?;
            found.is_displayed().await.unwrap_or(false).then_some(found)
        })
        .await
    }

    /// Waits until the text of the element contains `text`.
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
        panic!("{selector} does not contain {text:?}, but {last:?}");
    }

    /// Number of elements.
    pub async fn count(&self, selector: &str) -> usize {
        self.driver.find_all(By::Css(selector)).await.unwrap().len()
    }

    /// Replaces the text of a field.
    pub async fn fill(&self, selector: &str, text: &str) {
        let field = self.see(selector).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Clicks an element.
    pub async fn click(&self, selector: &str) {
        self.see(selector).await.click().await.unwrap();
    }

    /// Path and query of the current page.
    pub async fn address(&self) -> String {
        let url = self.driver.current_url().await.unwrap();
        url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
    }

    /// The value of a JavaScript expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        let answer = self.driver.execute(format!("return {expression}"), vec![]).await.unwrap();
        answer.json().clone()
    }

    /// Sends a command of the developer tools protocol.
    async fn send_command(&self, command: &str, parameters: Value) {
        self.driver.cdp().send_raw(command, parameters).await.unwrap();
    }

    /// Sets the colour scheme, light or dark.
    pub async fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.send_command("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Shows the page as it is printed.
    pub async fn print(&self) {
        self.send_command("Emulation.setEmulatedMedia", json!({ "media": "print" })).await;
    }

    /// Sets the size of the screen: that of a telephone, or that of a computer.
    pub async fn narrow(&self, narrow: bool) {
        let (width, height) = if narrow { (390, 844) } else { WIDE };
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": narrow });
        self.send_command("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Stores a picture of the page in `target/tmp/console`.
    pub async fn picture(&self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console");
        std::fs::create_dir_all(&folder).unwrap();
        let picture = self.driver.screenshot_as_png().await.unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// New entries of the browser log, such as script errors and violations of the content security policy.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter().map(|entry| format!("{entry:?}")).filter(|line| !line.contains("favicon")).collect()
    }

    /// Serious and critical findings of axe-core, with their elements.
    pub async fn serious_findings(&self) -> Vec<String> {
        let axe = python::axe().await;
        // The driver injects the script, because the policy of the page forbids other scripts.
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
