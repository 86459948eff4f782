//! How long a client is waited for, so that clients that send nothing cannot keep all the places of a source.

use std::time::Duration;

use chain::Tick;

/// How long a client is waited for before its session has begun, all waits for it together. Drivers begin within
/// milliseconds, and give up after 5 to 12 s themselves; whoever takes 30 s is no driver.
const BEGIN_MAX: Duration = Duration::from_secs(30);

/// How long nothing may come of a request that has begun. Drivers write a frame at once: only a network that loses
/// everything takes this long, and most drivers have given the request up after 10 to 12 s.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How long replies are awaited for a client that has ended its sending side: it may be gone altogether,
/// and TCP does not say so.
const ENDING_MAX: Duration = Duration::from_secs(60);

/// As [`ENDING_MAX`], for one that has broken off in the midst of a request: what is held behind that can go nowhere any
/// more, and would be awaited for nothing.
const BROKEN_OFF_MAX: Duration = Duration::from_secs(5);

/// How long replies are awaited for a client that has ended its sending side. `is_torn`: in the midst of a request.
pub(crate) fn ending_max(is_torn: bool) -> Duration {
    if is_torn { BROKEN_OFF_MAX } else { ENDING_MAX }
}

/// What a client was waited for, and since when.
pub(crate) struct Patience {
    /// When its session must have begun. Moves on while the client waits for us.
    begin_by: Tick,
    /// The last poll before its session began.
    polled_at: Tick,
    /// Since when it has been read and had nothing.
    silent_since: Option<Tick>,
    /// Since when it has not been read, or when somebody last looked whether it is still there.
    unread_since: Option<Tick>,
}

impl Patience {
    /// For a client that was accepted `now`.
    pub(crate) fn new(now: Tick) -> Self {
        Self { begin_by: now.after(BEGIN_MAX), polled_at: now, silent_since: None, unread_since: None }
    }

    /// Begins a poll before the session has begun. `is_owed`: since the last one the client waited for a reply, which is
    /// not its fault.
    pub(crate) fn before_session(&mut self, now: Tick, is_owed: bool) {
        if is_owed {
            self.begin_by = self.begin_by.after(Duration::from_micros(now.micros_since(self.polled_at)));
        }
        self.polled_at = now;
    }

    /// The client was read, and had nothing.
    pub(crate) fn silent(&mut self, now: Tick) {
        self.silent_since.get_or_insert(now);
        self.unread_since = None;
    }

    /// Something came: the client has all its time again.
    pub(crate) fn not_silent(&mut self) {
        self.silent_since = None;
        self.unread_since = None;
    }

    /// The client is not read: it has all its time again.
    pub(crate) fn unread(&mut self, now: Tick) {
        self.silent_since = None;
        self.unread_since.get_or_insert(now);
    }

    /// It was looked whether a client that is not read is still there.
    pub(crate) fn looked(&mut self, now: Tick) {
        self.unread_since = Some(now);
    }

    /// Since when a client has not been read that nobody has looked at.
    pub(crate) fn unread_since(&self) -> Option<Tick> {
        self.unread_since
    }

    /// When its session must have begun.
    pub(crate) fn begin_by(&self) -> Tick {
        self.begin_by
    }

    /// When more of a request that has begun must have come; `None` while the client is not read.
    pub(crate) fn stalled_at(&self) -> Option<Tick> {
        self.silent_since.map(|since| since.after(STALL_MAX))
    }
}

/// Like `min`, but nothing is later than anything.
pub(crate) fn earlier(one: Option<Tick>, other: Option<Tick>) -> Option<Tick> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
