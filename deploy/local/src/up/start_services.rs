//! Starts the gateway and the workers.

use std::net::SocketAddr;

use super::{
    deployment::{DATABASE, Deployment, StartContext},
    readiness::{reachable, wait_until_answers},
};
use crate::{client::OPEN_GATEWAY, nats::User, process::Command};

/// The API key for the simulated API, which accepts every key.
const SIMULATED_KEY: &str = "simulated";

impl Deployment {
    /// Starts gateway and workers together, then waits until each is ready.
    pub async fn start_services(&mut self, start: &StartContext<'_>) -> anyhow::Result<()> {
        start.progress.step("starting gateway and worker");
        let gateway = self.command(start, User::Gateway, "gateway", start.options.gateway_admin);
        let gateway = gateway.env("LISTEN_ADDR", start.options.listen.to_string());
        let gateway = gateway.envs(self.access_variables(start)?);
        let gateway = match &self.running.nats_monitor_url {
            Some(url) => gateway.env("NATS_MONITOR_URL", url),
            None => gateway,
        };
        self.services.push(start.launcher.spawn(&gateway).await?);
        let admins = std::iter::once(&start.options.worker_admin).chain(&start.addresses.more_workers);
        for (n, &admin) in (1..).zip(admins) {
            let name = if n == 1 { "worker".to_owned() } else { format!("worker-{n}") };
            let mut worker = self.command(start, User::Worker, &name, admin);
            if n == 1 {
                worker = worker
                    .env("ROLES", "status,transcripts,api,reconcile,deliver,console")
                    .env("CONSOLE_ADDR", start.options.console.to_string())
                    .env("CONSOLE_TOKEN", &self.running.console_token)
                    .env("CONSOLE_TEST_CALLS", self.running.simulator_url.is_some().to_string());
            }
            self.running.worker_admin_urls.push(format!("http://{}", reachable(admin)));
            self.services.push(start.launcher.spawn(&worker).await?);
        }
        let admin_urls =
            std::iter::once(&self.running.gateway_admin_url).chain(&self.running.worker_admin_urls);
        for (process, admin) in self.services.iter_mut().zip(admin_urls) {
            start.progress.step(&format!("waiting until the {} is ready", process.name()));
            wait_until_answers(process, &format!("{admin}/readyz")).await?;
            start.progress.done(&format!("{} is ready", process.name()));
        }
        Ok(())
    }

    /// The access settings of the gateway.
    ///
    /// With the simulated API, every process of this machine may do everything. With the real API, a call
    /// costs money, so placing one needs a token; reading needs none. A variable that the user has set is
    /// kept.
    fn access_variables(&mut self, start: &StartContext<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
        let is_simulated = self.running.simulator_url.is_some();
        let set = [&start.config.allow_unsigned, &start.config.allowed_sources, &start.config.api_anonymous];
        let mut vars = Vec::new();
        for ((name, value), set) in OPEN_GATEWAY.into_iter().zip(set) {
            let value = if name == "API_ANONYMOUS" && !is_simulated { "read" } else { value };
            if set.is_none() {
                vars.push((name, value.to_owned()));
            }
        }
        if is_simulated {
            vars.extend(self.twilio_variables(start)?);
        }
        if !is_simulated && start.config.api_token.is_none() {
            let token = start.data.secret("api-token")?;
            vars.push(("API_TOKEN", token.clone()));
            self.running.api_token = Some(token);
        }
        Ok(vars)
    }

    /// Variables for the signatures of the simulated Twilio, unless the user has set them. Gateway and
    /// simulator get the same values.
    pub fn twilio_variables(&self, start: &StartContext<'_>) -> anyhow::Result<Vec<(&'static str, String)>> {
        if start.config.twilio_auth_token.is_some() {
            return Ok(Vec::new());
        }
        let token = start.data.secret("twilio-token")?;
        Ok(vec![("TWILIO_AUTH_TOKEN", token), ("PUBLIC_URL", self.running.public_url.clone())])
    }

    /// The command of a worker that runs once. `name` is the name of its log.
    pub fn worker_command(&self, start: &StartContext<'_>, name: &str) -> Command {
        self.command(start, User::Worker, name, start.options.worker_admin)
    }

    /// A command with the settings that gateway and worker share. They inherit all other variables from the
    /// user.
    fn command(&self, start: &StartContext<'_>, part: User, name: &str, admin: SocketAddr) -> Command {
        let nats_url = match &self.users {
            Some(users) => users.url_with_login(part, &self.running.nats_url),
            None => self.running.nats_url.clone(),
        };
        let command = start
            .launcher
            .service(part.name(), start.data.log(name))
            .name(name)
            .env("ADMIN_ADDR", admin.to_string())
            .env("NATS_URL", nats_url)
            .env("MONGODB_URI", &self.running.mongodb_uri)
            .env("MONGODB_DATABASE", DATABASE)
            .env("LOG_FORMAT", "text")
            .env("NO_COLOR", "1");
        match &self.running.simulator_url {
            Some(url) => command
                .env("ELEVENLABS_BASE_URL", url)
                .env("ELEVENLABS_API_KEY", SIMULATED_KEY)
                .env("ELEVENLABS_STATUS_CALLBACK_URL", self.callback_url()),
            None => command,
        }
    }

    /// URL that receives the webhooks of the simulated ElevenLabs.
    fn callback_url(&self) -> String {
        format!("{}/api/webhooks/elevenlabs/call-status", self.running.public_url)
    }
}
