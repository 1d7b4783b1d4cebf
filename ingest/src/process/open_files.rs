//! The limit on open files: raised as far as the system lets us, since every connection is one.

use std::num::NonZeroUsize;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the process needs besides connections: broker, admin listener, spool, certificate.
const OTHERS: usize = 128;

/// Raises the soft limit to what `connections` need. How many there is room for, which it says where the hard
/// limit is lower: what is more would be opened at the expense of the connection to the broker.
pub fn allow(connections: NonZeroUsize) -> NonZeroUsize {
    let wanted = u64::try_from(connections.get().saturating_add(OTHERS)).unwrap_or(u64::MAX);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let allowed = wanted.min(hard).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, allowed, hard)?;
        Ok(allowed)
    });
    match raised {
        Ok(allowed) if allowed < wanted => {
            let room = room(allowed).min(connections);
            tracing::warn!(
                allowed,
                wanted,
                connections = room,
                "MAX_CONNECTIONS is more than the limit on open files allows (ulimit -n, LimitNOFILE)"
            );
            room
        }
        Ok(_) => connections,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on open files");
            connections
        }
    }
}

/// Connections that so many open files allow; where they are too few for a gateway, as many as the rest of it.
fn room(files: u64) -> NonZeroUsize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    NonZeroUsize::new(files.saturating_sub(OTHERS).max(OTHERS)).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_the_rest() {
        for (files, connections) in
            [(20, 128), (256, 128), (257, 129), (1024, 896), (u64::MAX, usize::MAX - 128)]
        {
            assert_eq!(room(files).get(), connections, "{files}");
        }
    }
}
