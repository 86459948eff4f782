//! RequestThrottling: answers requests beyond a quota itself and lets the rest pass.
//!
//! Toward server: at most so many statements a second, from all clients and workers together, or of each client address
//! or user, or to each keyspace or table (`name_throttle`). Toward client: the others get `Server overloaded`.
//! Wants decoded: the first chunk of a batch, for how many statements it has; all of a request for what it is about.
//! Must hold: the quota is exact whichever workers the clients are on. What keeps up a connection is not refused: that
//! would only make clients connect anew.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use chain::{Batch, Builder, Cx, Fault, Identity, Link, Need, Tick, Transform, WorkerCx, WorkerPart};
use config::Fields;
use tracing::warn;
use wire::ErrorKind;

use crate::limiter::{Limiter, Limiters};
use crate::name_throttle::{NameLimits, NameThrottle, Near, Per};

/// The least that can be asked for, as upstream has it.
const REQUESTS_MIN: u64 = 50;

/// What is said of a request that does not pass.
pub(crate) const OVERLOADED: &str = "Server overloaded";

/// Says of a request that it can never pass.
pub(crate) fn warn_of_too_many() {
    warn!(
        target: observe::target::THROTTLING,
        "A message was received that could never have been successfully delivered since it contains \
         more sub messages than can ever be allowed through via the `RequestThrottling` transforms \
         `max_requests_per_second` configuration."
    );
}

/// The options.
#[derive(Clone)]
pub struct RequestThrottling {
    quota: u32,
    quotas: Quotas,
}

/// Whose the quota is.
enum Limits {
    /// All clients have one together.
    Together(Arc<Limiter>),
    /// Each address has one.
    OfAddress(Limiters<Option<IpAddr>>),
    /// Each user has one; those of whom no user is known have one together.
    OfUser(Limiters<Option<Box<str>>>),
}

/// What a quota is of.
#[derive(Clone)]
enum Quotas {
    /// Clients.
    Clients(Arc<Limits>),
    /// Keyspaces or tables.
    Names(Arc<NameLimits>),
}

impl RequestThrottling {
    /// A throttle of all clients together.
    #[must_use]
    pub fn new(quota: u32) -> Self {
        let limits = Limits::Together(Arc::new(Limiter::new(quota)));
        Self { quota, quotas: Quotas::Clients(Arc::new(limits)) }
    }

    /// Reads the options.
    pub fn parse(fields: &mut Fields<'_>) -> Option<Self> {
        let quota = fields.required_u64("max_requests_per_second", 0..=u64::from(u32::MAX));
        let per = fields.optional_one_of("per", &["ClientAddress", "User", "Keyspace", "Table"]);
        if quota.is_some_and(|quota| quota < REQUESTS_MIN) {
            fields.fail_lines(&[
                "RequestThrottling:",
                "  max_requests_per_second has a minimum allowed value of 50",
            ]);
            return None;
        }
        let quota = u32::try_from(quota?).ok()?;
        let of_clients = |limits| Quotas::Clients(Arc::new(limits));
        let quotas = match per {
            Some("ClientAddress") => of_clients(Limits::OfAddress(Limiters::new(quota))),
            Some("User") => of_clients(Limits::OfUser(Limiters::new(quota))),
            Some("Keyspace") => Quotas::Names(Arc::new(NameLimits::new(Per::Keyspace, quota))),
            Some(_) => Quotas::Names(Arc::new(NameLimits::new(Per::Table, quota))),
            None => return Some(Self::new(quota)),
        };
        Some(Self { quota, quotas })
    }
}

impl Builder for RequestThrottling {
    fn worker(&self, _worker: &WorkerCx) -> Box<dyn WorkerPart> {
        match &self.quotas {
            Quotas::Names(limits) => Box::new(NamePart { limits: Arc::clone(limits), near: Rc::default() }),
            Quotas::Clients(limits) => Box::new(ClientPart { quota: self.quota, limits: Arc::clone(limits) }),
        }
    }

    fn enriches(&self) -> bool {
        matches!(self.quotas, Quotas::Names(_))
    }
}

/// What the clients of one worker share of a throttle by name.
struct NamePart {
    limits: Arc<NameLimits>,
    near: Rc<RefCell<Near>>,
}

impl WorkerPart for NamePart {
    fn client(&self) -> Link {
        Link::Transform(Box::new(NameThrottle::new(&self.limits, &self.near)))
    }
}

/// What the clients of one worker share of another one.
struct ClientPart {
    quota: u32,
    limits: Arc<Limits>,
}

impl WorkerPart for ClientPart {
    fn client(&self) -> Link {
        let limits = Arc::clone(&self.limits);
        Link::Transform(Box::new(Throttle { quota: self.quota, limits, own: None }))
    }
}

/// The part of one client.
struct Throttle {
    quota: u32,
    limits: Arc<Limits>,
    /// The limiter of this client, and whether its user was known when it was asked for.
    own: Option<(Arc<Limiter>, bool)>,
}

impl Throttle {
    /// The limiter that this client's requests are taken from.
    fn limiter(&mut self, identity: &Identity, now: Tick) -> &Limiter {
        let limits = &*self.limits;
        let user = match limits {
            Limits::Together(limiter) => return limiter,
            Limits::OfAddress(_) => None,
            Limits::OfUser(_) => identity.user(),
        };
        let is_of_user = user.is_some();
        let own = match self.own.take() {
            Some(own) if own.1 == is_of_user => own,
            _ => match limits {
                Limits::Together(limiter) => return limiter,
                Limits::OfAddress(limiters) => (limiters.of(identity.address(), now), is_of_user),
                Limits::OfUser(limiters) => (limiters.of(user.map(|user| (&*user).into()), now), is_of_user),
            },
        };
        &self.own.insert(own).0
    }
}

impl Transform for Throttle {
    fn request_need(&self, _opcode: u8) -> Need {
        Need::Head
    }

    fn requests(&mut self, cx: &mut Cx<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Fault> {
        let protocol = batch.protocol();
        let quota = u64::from(self.quota);
        let (mut wanted, mut is_any_too_large) = (0, false);
        batch.each(|request| {
            if protocol.runs_statements(request.head()) {
                let statements = u64::from(protocol.statements(request.head(), request.bytes()));
                is_any_too_large |= statements > quota;
                wanted += if statements > quota { 0 } else { statements };
            }
        });
        if wanted == 0 && !is_any_too_large {
            return Ok(());
        }
        let limiter = self.limiter(batch.identity(), cx.now);
        let mut left = limiter.take(cx.now, wanted);
        if left == wanted && !is_any_too_large {
            return Ok(());
        }
        batch.each(|request| {
            if !protocol.runs_statements(request.head()) {
                return;
            }
            let statements = u64::from(protocol.statements(request.head(), request.bytes()));
            if statements > quota {
                warn_of_too_many();
            } else if statements <= left {
                left -= statements;
                return;
            }
            request.answer_error(ErrorKind::Overloaded, OVERLOADED);
        });
        // Of a batch that did not fit.
        if left > 0 {
            limiter.give_back(left);
        }
        Ok(())
    }
}
