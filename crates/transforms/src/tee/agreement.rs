//! Whether a second chain's server is in the keyspace that its client is in.
//!
//! Nothing goes to the second server behind a USE until both servers have answered it. Where they differ, the connection
//! is given up for a new one, which is told the client's session: a connection cannot leave a keyspace for none.
//!
//! USEs are numbered in the order in which the client asks them. What must hold whenever another request goes: the second
//! server's connection is where the last USE has led that was asked before that request and that the first server has
//! accepted, or it is in no keyspace, where a statement that names none is refused and does no harm.

use super::session::Keyspace;

/// What both servers have said to the USEs of one client.
#[derive(Default)]
pub(super) struct Agreement {
    /// Those that the second chain was given, until both have answered. They go there in the order of their numbers.
    open: Vec<Use>,
    /// Where the client was when it asked what goes next.
    keyspace: Keyspace,
    /// The number of the USE that led to where the second server's connection is; 0 if it is in no keyspace.
    second: u32,
    /// The client has gone to its keyspace by a USE that the second server was not told.
    is_behind: bool,
}

struct Use {
    number: u32,
    /// The first server's answer: the USE to where the client is now, or `None` if it has refused.
    first: Option<Option<Vec<u8>>>,
    second: Second,
}

/// How far the second server is with a USE.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    /// It was not asked yet.
    Waits,
    Asked,
    /// It has answered: true if it is there.
    Said(bool),
}

impl Agreement {
    /// The second chain is given a USE.
    pub(super) fn begin(&mut self, number: u32) {
        self.open.push(Use { number, first: None, second: Second::Waits });
    }

    /// The second server is asked.
    pub(super) fn asked(&mut self, number: u32) {
        if let Some(of) = self.find(number) {
            of.second = Second::Asked;
        }
    }

    fn find(&mut self, number: u32) -> Option<&mut Use> {
        self.open.iter_mut().find(|of| of.number == number)
    }

    /// What the first server has said: the USE to where the client is now, or `None` if it has refused. Gives that USE
    /// back if the second chain was not given it, and is to be.
    pub(super) fn first_said(&mut self, number: u32, keyspace: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if let Some(of) = self.find(number) {
            of.first = Some(keyspace);
            self.decide(number);
            return None;
        }
        // The client has asked another one later, which the first server has answered earlier.
        let frame = keyspace.filter(|_| number > self.keyspace.number)?;
        // The second server was asked a later one: if the first refuses that, it is too late to tell this one.
        if self.under_way().any(|of| of.number > number) {
            self.keyspace = Keyspace { number, frame: Some(frame) };
            self.is_behind = true;
            return None;
        }
        Some(frame)
    }

    /// What the second server has said to a USE.
    pub(super) fn second_said(&mut self, number: u32, is_there: bool) {
        if let Some(of) = self.find(number) {
            of.second = Second::Said(is_there);
            self.decide(number);
        }
    }

    fn decide(&mut self, number: u32) {
        let Some(at) = self.open.iter().position(|of| of.number == number) else { return };
        let Some(Use { first: Some(first), second: Second::Said(is_there), .. }) = self.open.get_mut(at)
        else {
            return;
        };
        // What the client went to later, without the second server, counts more.
        if let Some(frame) = first.take().filter(|_| number >= self.keyspace.number) {
            self.keyspace = Keyspace { number, frame: Some(frame) };
            self.is_behind = false;
        }
        if *is_there {
            self.second = number;
        }
        self.open.remove(at);
    }

    /// Those that the second server was asked and that are not decided; one at most.
    fn under_way(&self) -> impl Iterator<Item = &Use> {
        self.open.iter().filter(|of| of.second != Second::Waits)
    }

    /// True while requests may follow.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_broken() && !self.open.iter().any(|of| matches!(of.second, Second::Said(_)))
    }

    /// True when the second server needs a new connection. A USE that is under way may spare it.
    pub(super) fn is_broken(&self) -> bool {
        let is_elsewhere = self.second != 0 && self.second != self.keyspace.number;
        (self.is_behind || is_elsewhere) && self.under_way().next().is_none()
    }

    /// The keyspace that a new connection must be in: where the client was when it asked what goes next.
    pub(super) fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// The second server has a new connection, which is told to go to this keyspace first. Those that wait stay.
    pub(super) fn renewed(&mut self, keyspace: Keyspace) {
        (self.keyspace, self.second, self.is_behind) = (keyspace, 0, false);
    }

    /// It has none. Nothing waits any more.
    pub(super) fn lost(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Agreement, Keyspace};

    fn to(name: &str) -> Option<Vec<u8>> {
        Some(format!("USE {name}").into_bytes())
    }

    fn at(number: u32, name: &str) -> Keyspace {
        Keyspace { number, frame: to(name) }
    }

    /// The second server is asked a USE, and answers.
    fn second(agreement: &mut Agreement, number: u32, is_there: bool) {
        agreement.asked(number);
        agreement.second_said(number, is_there);
    }

    /// Both servers are in a keyspace.
    fn both_in(number: u32, name: &str) -> Agreement {
        let mut agreement = Agreement::default();
        agreement.begin(number);
        second(&mut agreement, number, true);
        agreement.first_said(number, to(name));
        assert!(agreement.is_settled());
        agreement
    }

    /// A USE comes to the same whoever answers first; `has_keyspace`: the second server is in one before.
    fn is_broken(has_keyspace: bool, first: bool, second_is_there: bool) -> bool {
        let outcomes = [false, true].map(|first_is_quick| {
            let mut agreement = if has_keyspace { both_in(1, "old") } else { Agreement::default() };
            let before = agreement.keyspace().clone();
            agreement.begin(7);
            assert!(agreement.is_settled());
            let frame = to("k").filter(|_| first);
            if first_is_quick {
                assert_eq!(agreement.first_said(7, frame), None);
                second(&mut agreement, 7, second_is_there);
            } else {
                second(&mut agreement, 7, second_is_there);
                assert!(!agreement.is_settled(), "nothing follows a USE that the first has not answered");
                assert_eq!(agreement.first_said(7, frame), None);
            }
            assert_eq!(agreement.is_settled(), !agreement.is_broken());
            assert_eq!(*agreement.keyspace(), if first { at(7, "k") } else { before });
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
        let mut agreement = both_in(1, "old");
        (2..=4).for_each(|number| agreement.begin(number));
        agreement.first_said(2, to("a"));
        agreement.first_said(3, to("b"));
        second(&mut agreement, 2, false);
        assert!(agreement.is_broken());
        assert_eq!(*agreement.keyspace(), at(2, "a"));
        agreement.renewed(agreement.keyspace().clone());
        // It is told, and those that wait follow.
        agreement.begin(2);
        agreement.first_said(2, to("a"));
        second(&mut agreement, 2, true);
        second(&mut agreement, 3, true);
        assert!(agreement.is_settled());
        second(&mut agreement, 4, true);
        agreement.first_said(4, None);
        assert!(agreement.is_broken());
        assert_eq!(*agreement.keyspace(), at(3, "b"));
    }

    #[test]
    fn one_that_the_second_was_not_given_is_to_be_told() {
        let mut agreement = Agreement::default();
        agreement.begin(1);
        agreement.first_said(1, to("a"));
        assert_eq!(agreement.first_said(2, to("b")), to("b"), "behind the one that waits");
        assert_eq!(agreement.first_said(2, None), None);
        second(&mut agreement, 1, true);
        assert_eq!(*agreement.keyspace(), at(1, "a"));
        assert!(agreement.is_settled());
    }

    /// The first server confirms number 2, which the second was not given, while that is asked number 3.
    #[test]
    fn one_that_is_too_late_to_be_told_counts_if_the_later_one_is_refused() {
        for is_there in [false, true] {
            for is_quick in [false, true] {
                for accepts in [false, true] {
                    let mut agreement = both_in(1, "a");
                    agreement.begin(3);
                    agreement.asked(3);
                    if is_quick {
                        agreement.second_said(3, is_there);
                    }
                    assert_eq!(agreement.first_said(2, to("b")), None);
                    assert!(!agreement.is_broken(), "what the later one comes to is not known");
                    if !is_quick {
                        agreement.second_said(3, is_there);
                    }
                    assert!(!agreement.is_settled());
                    agreement.first_said(3, to("c").filter(|_| accepts));
                    assert_eq!(agreement.is_broken(), !(accepts && is_there));
                    assert_eq!(*agreement.keyspace(), if accepts { at(3, "c") } else { at(2, "b") });
                }
            }
        }
    }

    #[test]
    fn one_that_was_answered_behind_a_later_one_does_not_count() {
        let mut agreement = both_in(3, "c");
        assert_eq!(agreement.first_said(2, to("b")), None);
        assert!(agreement.is_settled());
        assert_eq!(*agreement.keyspace(), at(3, "c"));
    }

    #[test]
    fn what_was_lost_is_not_awaited() {
        let mut agreement = Agreement::default();
        agreement.begin(1);
        second(&mut agreement, 1, true);
        agreement.lost();
        assert!(agreement.is_settled());
        assert_eq!(agreement.first_said(1, to("k")), to("k"), "it is given back");
        assert_eq!((agreement.keyspace(), agreement.is_broken()), (&Keyspace::default(), false));
    }
}
