//! How many files this process may have open.

/// Raises the soft limit of open files to the hard one, and says what it is now; `None` if it cannot be read.
#[must_use]
pub fn raise_descriptor_limit() -> Option<u64> {
    let (soft, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).ok()?;
    if soft < hard && rlimit::setrlimit(rlimit::Resource::NOFILE, hard, hard).is_ok() {
        return Some(hard);
    }
    Some(soft)
}
