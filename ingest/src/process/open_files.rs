//! The limit on open files. Each connection is an open file.

use std::num::NonZeroUsize;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files that are not connections of senders: broker, admin listener, spool, certificate.
const OTHER_FILES: usize = 128;

/// Raises the soft limit so that `max_connections` and `spool_files` can be open, and returns how many connections can be
/// open.
///
/// If the hard limit is too low, logs a warning and returns a lower number. Otherwise connections could use
/// up the open files that the connection to the broker needs.
pub fn raise_limit(max_connections: NonZeroUsize, spool_files: usize) -> NonZeroUsize {
    let others = OTHER_FILES.saturating_add(spool_files);
    let wanted = u64::try_from(max_connections.get().saturating_add(others)).unwrap_or(u64::MAX);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let allowed = wanted.min(hard).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, allowed, hard)?;
        Ok(allowed)
    });
    match raised {
        Ok(allowed) if allowed < wanted => {
            let possible = possible_connections(allowed, others).min(max_connections);
            tracing::warn!(
                allowed,
                wanted,
                connections = possible,
                "MAX_CONNECTIONS is more than the limit on open files allows (ulimit -n, LimitNOFILE)"
            );
            possible
        }
        Ok(_) => max_connections,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit on open files");
            max_connections
        }
    }
}

/// The number of connections that `files` open files allow beside `others`, but at least [`OTHER_FILES`]: a gateway with
/// fewer connections is of no use.
fn possible_connections(files: u64, others: usize) -> NonZeroUsize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    NonZeroUsize::new(files.saturating_sub(others).max(OTHER_FILES)).unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_open_files_for_the_rest_of_the_process() {
        for (files, connections) in
            [(20, 128), (256, 128), (257, 129), (1024, 896), (u64::MAX, usize::MAX - 128)]
        {
            assert_eq!(possible_connections(files, OTHER_FILES).get(), connections, "{files}");
        }
    }
}
