//! Whether a second chain's server is in the keyspace that its client is in.
//!
//! Nothing goes to the second server behind a USE until both servers have answered it. Where they differ, the connection
//! is given up for a new one, which is told the client's session: a connection cannot leave a keyspace for none.

/// What both servers have said to the USEs of one client.
#[derive(Default)]
pub(super) struct Agreement {
    /// Those that the second chain was given, until both have answered.
    open: Vec<Use>,
    /// The USE that brings a new connection to where the client was when it asked what goes next.
    keyspace: Option<Vec<u8>>,
    /// The second server's connection is in a keyspace.
    has_keyspace: bool,
    /// It is not in its client's.
    is_broken: bool,
}

struct Use {
    number: u32,
    /// The first server's answer: the USE to where the client is now, or `None` if it has refused.
    first: Option<Option<Vec<u8>>>,
    /// The second server's: true if it is there.
    second: Option<bool>,
}

impl Agreement {
    /// The second chain is given a USE.
    pub(super) fn begin(&mut self, number: u32) {
        self.open.push(Use { number, first: None, second: None });
    }

    /// What the first server has said: the USE to where the client is now, or `None` if it has refused. Gives that USE
    /// back if the second chain was not given it.
    pub(super) fn first_said(&mut self, number: u32, keyspace: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let Some(of) = self.open.iter_mut().find(|of| of.number == number) else { return keyspace };
        of.first = Some(keyspace);
        self.decide(number);
        None
    }

    /// True while USEs wait for an answer.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// The client is in this keyspace when it asks what goes next, and the second server is not.
    pub(super) fn go_to(&mut self, keyspace: Vec<u8>) {
        (self.keyspace, self.is_broken) = (Some(keyspace), true);
    }

    /// What the second server has said to a USE, or to one that was told to a new connection.
    pub(super) fn second_said(&mut self, number: u32, is_there: bool) {
        self.has_keyspace |= is_there;
        if let Some(of) = self.open.iter_mut().find(|of| of.number == number) {
            of.second = Some(is_there);
            self.decide(number);
        }
    }

    fn decide(&mut self, number: u32) {
        let is_decided = |of: &mut Use| of.number == number && of.first.is_some() && of.second.is_some();
        for of in self.open.extract_if(.., is_decided) {
            let keyspace = of.first.flatten();
            // Without any keyspace, a statement that names none is refused: it does no harm.
            self.is_broken |= Some(keyspace.is_some()) != of.second && self.has_keyspace;
            self.keyspace = keyspace.or_else(|| self.keyspace.take());
        }
    }

    /// True while requests may follow.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_broken && self.open.iter().all(|of| of.second.is_none())
    }

    /// True when the second server needs a new connection.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// The USE that brings a new connection to where the client was when it asked what goes next.
    pub(super) fn keyspace(&self) -> Option<Vec<u8>> {
        self.keyspace.clone()
    }

    /// The second server has a new connection, which is told this USE first. Those that wait stay.
    pub(super) fn renewed(&mut self, keyspace: Option<Vec<u8>>) {
        (self.keyspace, self.has_keyspace, self.is_broken) = (keyspace, false, false);
    }

    /// It has none. Nothing waits any more.
    pub(super) fn lost(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::Agreement;

    const FRAME: &[u8] = b"USE k";

    /// A USE comes to the same whoever answers first; `has_keyspace`: the second server is in one before.
    fn is_broken(has_keyspace: bool, first: bool, second: bool) -> bool {
        let outcomes = [false, true].map(|first_is_quick| {
            let mut agreement = Agreement::default();
            agreement.second_said(0, has_keyspace);
            agreement.begin(7);
            assert!(agreement.is_settled());
            let frame = first.then(|| FRAME.to_vec());
            if first_is_quick {
                assert_eq!(agreement.first_said(7, frame.clone()), None);
                agreement.second_said(7, second);
            } else {
                agreement.second_said(7, second);
                assert!(!agreement.is_settled(), "nothing follows a USE that the first has not answered");
                assert_eq!(agreement.first_said(7, frame.clone()), None);
            }
            assert_eq!(agreement.is_settled(), !agreement.is_broken());
            assert_eq!(agreement.keyspace(), frame);
            agreement.is_broken()
        });
        assert_eq!(outcomes[0], outcomes[1]);
        outcomes[0]
    }

    #[test]
    fn servers_that_differ_need_a_new_connection() {
        for has_keyspace in [false, true] {
            assert!(!is_broken(has_keyspace, true, true));
            assert!(!is_broken(has_keyspace, false, false));
            assert!(is_broken(has_keyspace, false, true));
        }
        assert!(is_broken(true, true, false));
        assert!(!is_broken(false, true, false), "no keyspace does no harm");
    }

    #[test]
    fn a_new_connection_is_told_where_the_client_was_and_not_where_it_is() {
        let mut agreement = Agreement::default();
        agreement.second_said(0, true);
        (1..=3).for_each(|number| agreement.begin(number));
        agreement.first_said(1, Some(b"USE a".to_vec()));
        agreement.first_said(2, Some(b"USE b".to_vec()));
        agreement.second_said(1, false);
        assert!(agreement.is_broken());
        assert_eq!(agreement.keyspace().as_deref(), Some(&b"USE a"[..]));
        agreement.renewed(agreement.keyspace());
        assert!(agreement.is_settled());
        agreement.second_said(0, true);
        agreement.second_said(2, true);
        assert!(agreement.is_settled());
        agreement.second_said(3, true);
        agreement.first_said(3, None);
        assert!(agreement.is_broken());
        assert_eq!(agreement.keyspace().as_deref(), Some(&b"USE b"[..]));
    }

    #[test]
    fn what_was_lost_is_not_awaited() {
        let mut agreement = Agreement::default();
        agreement.begin(1);
        agreement.second_said(1, true);
        agreement.lost();
        assert!(agreement.is_settled());
        let given_back = agreement.first_said(1, Some(FRAME.to_vec()));
        assert_eq!(given_back.as_deref(), Some(FRAME));
        assert_eq!((agreement.keyspace(), agreement.is_broken()), (None, false));
    }
}
