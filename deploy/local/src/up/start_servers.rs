//! Starts nats-server, mongod and the simulated ElevenLabs API.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    deployment::{Deployment, StartContext},
    readiness::wait_until_answers,
};
use crate::{
    mongod,
    nats::{self, User, UserPasswords},
    servers,
};

impl Deployment {
    /// Starts nats-server, and waits until it is ready.
    pub async fn start_nats(
        &mut self,
        start: &StartContext<'_>,
        [port, monitor]: [u16; 2],
    ) -> anyhow::Result<()> {
        let services = servers::services_dir(start.data.root());
        let binary =
            servers::locate_with(&servers::NATS, &start.config.path, &services, start.progress).await?;
        start.progress.step("starting nats-server");
        let users = UserPasswords::load_or_create(&start.data.path("nats-users.json"))?;
        let options = nats::Options {
            users: Some(users.clone()),
            data: Some(start.data.path("nats")),
            port,
            monitor,
            log: Some(start.data.log("nats-server")),
            ..nats::Options::default()
        };
        let nats = nats::start(&start.launcher, &binary, options).await?;
        start.progress.done(&format!("nats-server at {}", nats.url()));
        self.running.nats_url = users.url_with_login(User::Operator, &nats.url());
        self.users = Some(users);
        self.running.nats_monitor_url = Some(format!("http://127.0.0.1:{monitor}"));
        self.nats = Some(nats);
        Ok(())
    }

    /// Starts mongod, and waits until it is ready.
    pub async fn start_mongod(&mut self, start: &StartContext<'_>, port: u16) -> anyhow::Result<()> {
        let services = servers::services_dir(start.data.root());
        let binary =
            servers::locate_with(&servers::MONGOD, &start.config.path, &services, start.progress).await?;
        start.progress.step("starting mongod");
        let options = mongod::Options {
            data: Some(start.data.path("mongod")),
            port,
            log: Some(start.data.log("mongod")),
            ..mongod::Options::default()
        };
        let mongod = mongod::start(&start.launcher, &binary, options).await?;
        start.progress.done(&format!("mongod at {}", mongod.url()));
        self.running.mongodb_uri = mongod.url();
        self.mongod = Some(mongod);
        Ok(())
    }

    /// Starts the simulated ElevenLabs API, and waits until it is ready.
    pub async fn start_simulator(&mut self, start: &StartContext<'_>, port: u16) -> anyhow::Result<()> {
        start.progress.step("starting the simulated ElevenLabs API");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let command = start.launcher.service("simulator", start.data.log("simulator"));
        let mut arguments = vec!["--listen".to_owned(), address.to_string()];
        arguments.extend(["--gateway".to_owned(), self.running.public_url.clone()]);
        arguments.extend(start.options.behaviour.arguments());
        let command = command.args(&arguments).envs(self.twilio_variables(start)?);
        let mut process = start.launcher.spawn(&command).await?;
        wait_until_answers(&mut process, &format!("http://{address}/livez")).await?;
        start.progress.done(&format!("simulated ElevenLabs API at http://{address}"));
        self.running.simulator_url = Some(format!("http://{address}"));
        self.simulator = Some(process);
        Ok(())
    }
}
