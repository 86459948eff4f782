//! Who a client is: what transforms may tell clients apart by.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

/// Who a client is, as far as it is known by now. The client's loop writes it, transforms read it.
#[derive(Default)]
pub struct Identity {
    address: Cell<Option<IpAddr>>,
    user: RefCell<Option<Rc<str>>>,
}

impl Identity {
    /// Where the client's connection comes from.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address.get()
    }

    /// Says where the client's connection comes from.
    pub fn set_address(&self, address: IpAddr) {
        self.address.set(Some(address));
    }

    /// The user whose login the server has accepted; `None` before that, and where the login does not name one in
    /// words that can be read.
    #[must_use]
    pub fn user(&self) -> Option<Rc<str>> {
        self.user.borrow().as_ref().map(Rc::clone)
    }

    /// Says whose login the server has accepted.
    pub fn set_user(&self, user: Rc<str>) {
        *self.user.borrow_mut() = Some(user);
    }
}
