//! The variable `ROLES`.

use std::fmt;

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
    /// Publishes changes of calls, and posts them to endpoints.
    Deliver,
    /// Shows calls to people, in a browser.
    Console,
}

impl Role {
    const ALL: [Self; 6] =
        [Self::Status, Self::Transcripts, Self::Api, Self::Reconcile, Self::Deliver, Self::Console];

    /// Name of the role in `ROLES`.
    fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Transcripts => "transcripts",
            Self::Api => "api",
            Self::Reconcile => "reconcile",
            Self::Deliver => "deliver",
            Self::Console => "console",
        }
    }
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
        let roles = list.split(',').map(|name| {
            let name = name.trim();
            Role::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| {
                let names = Role::ALL.map(Role::name).join(", ");
                format!("{name:?} is not a role; the roles are {names}")
            })
        });
        roles.collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl Default for Roles {
    fn default() -> Self {
        Self(vec![Role::Status, Role::Transcripts, Role::Api, Role::Reconcile, Role::Deliver])
    }
}
