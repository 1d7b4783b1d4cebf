//! The variable `ROLES`.

use serde::Deserialize;

/// One kind of work of a worker process. To scale one role, start more processes with this role alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Applies webhooks to the state of calls.
    Status,
    /// Fetches transcripts.
    Transcripts,
    /// Answers requests about calls, and places calls.
    Api,
    /// Publishes events whose webhooks were lost, and checks the registration of the webhook.
    Reconcile,
    /// Shows calls to people, in a browser.
    Console,
}

/// The roles of a process, from a list with commas. Not empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Roles(Vec<Role>);

impl Roles {
    /// Whether the process has this `role`.
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl TryFrom<String> for Roles {
    type Error = String;

    fn try_from(list: String) -> Result<Self, String> {
        let roles = list.split(',').map(|name| match name.trim() {
            "status" => Ok(Role::Status),
            "transcripts" => Ok(Role::Transcripts),
            "api" => Ok(Role::Api),
            "reconcile" => Ok(Role::Reconcile),
            "console" => Ok(Role::Console),
            other => Err(format!(
                "{other:?} is not a role; the roles are status, transcripts, api, reconcile and console"
            )),
        });
        roles.collect::<Result<_, _>>().map(Self)
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self(vec![Role::Status, Role::Transcripts, Role::Api, Role::Reconcile])
    }
}
