//! The limit on open files: raised as far as the system lets us, since every connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What the process needs besides connections: broker, admin listener, spool, certificate.
const OTHERS: u64 = 128;

/// Raises the soft limit to what `connections` need, and says so where the hard limit is lower.
pub fn allow(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let allowed = wanted.min(hard).max(soft);
        setrlimit(Resource::RLIMIT_NOFILE, allowed, hard)?;
        Ok(allowed)
    });
    match raised {
        Ok(allowed) if allowed < wanted => tracing::warn!(
            allowed,
            wanted,
            "MAX_CONNECTIONS is more than the limit on open files allows (ulimit -n, LimitNOFILE)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
    }
}
