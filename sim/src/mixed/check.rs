//! What must hold when a run is over: which requests may have come to which server, and that none is missing uncounted.

use std::collections::BTreeMap;

use super::Book;
use super::model::{Behavior, FIRST, Part, Server, Tee, end, routes, tees};
use super::outcomes::{Judged, Outcome, Outcomes, outcomes};
use super::traffic::Kind;

/// Judges a run. `dropped`: requests of which Tees have counted that their second chains did not get them.
pub fn check(chain: &[Part], book: &Book, dropped: u64) -> Result<(), String> {
    check_answered(book)?;
    check_routes(chain, book)?;
    let tees = tees(chain);
    for (tee, below) in &tees {
        check_sent_again(tee, below, book)?;
        check_sampled(tee, book)?;
    }
    check_mirrored(&tees, book, dropped)
}

/// The requests that a server has run.
fn ran(book: &Book, server: Server) -> impl Iterator<Item = (u64, Kind)> {
    let all = book.ran.range((server, 0)..=(server, u64::MAX)).map(|(_, nonce)| *nonce);
    all.filter_map(|nonce| Some((nonce, book.requests.get(&nonce)?.kind)))
}

/// What was answered on the way was not run by the chain's own server.
fn check_answered(book: &Book) -> Result<(), String> {
    match book.must_not_run.iter().find(|nonce| book.ran.contains(&(FIRST, **nonce))) {
        Some(nonce) => Err(format!("{nonce:x} ran at server {FIRST} and was answered on the way")),
        None => Ok(()),
    }
}

/// What a filter refuses comes to no server behind it.
fn check_routes(chain: &[Part], book: &Book) -> Result<(), String> {
    for route in routes(chain) {
        let refuses = |part: &&Part, kind| matches!(part, Part::Filter(filter) if filter.judges(kind) == Judged::Refused);
        let mut all = ran(book, route.server);
        if let Some((nonce, kind)) = all.find(|(_, kind)| route.path.iter().any(|part| refuses(part, *kind)))
        {
            return Err(format!("{kind:?} {nonce:x} ran at server {}, behind a filter", route.server));
        }
    }
    Ok(())
}

/// The server that a chain ends at.
fn server(chain: &[Part]) -> Option<Server> {
    match end(chain)? {
        Part::Single { server, .. } => Some(*server),
        _ => None,
    }
}

/// Only that is sent again of which the replies may differ; they do where a server fails.
fn check_sent_again(tee: &Tee, below: &[Part], book: &Book) -> Result<(), String> {
    let Some(again) = server(&tee.mismatch).filter(|_| !book.has_server_fault) else { return Ok(()) };
    match ran(book, again).find(|(_, kind)| !tee.may_differ(below, *kind)) {
        Some((nonce, kind)) => {
            Err(format!("{kind:?} {nonce:x} ran at server {again}, though its replies are the same"))
        }
        None => Ok(()),
    }
}

/// No more requests are mirrored than were to be, of each client.
fn check_sampled(tee: &Tee, book: &Book) -> Result<(), String> {
    let Some(second) = server(&tee.second).filter(|_| tee.sample < 100 && !tee.has_switch) else {
        return Ok(());
    };
    let mut counts = BTreeMap::<u64, (u64, u64)>::new();
    book.requests.keys().for_each(|nonce| counts.entry(nonce >> 32).or_default().0 += 1);
    ran(book, second).for_each(|(nonce, _)| counts.entry(nonce >> 32).or_default().1 += 1);
    match counts.iter().find(|(_, (asked, ran))| ran * 100 > asked * u64::from(tee.sample)) {
        Some((client, (asked, ran))) => Err(format!(
            "{ran} of {asked} requests of client {client} ran at server {second}, of a sample of {} %",
            tee.sample
        )),
        None => Ok(()),
    }
}

/// What a second server did not get is counted, where nothing else keeps it back.
fn check_mirrored(tees: &[(&Tee, &[Part])], book: &Book, dropped: u64) -> Result<(), String> {
    if tees.iter().any(|(tee, _)| tee.behavior != Behavior::Ignore) {
        return Ok(());
    }
    let missing: usize = tees.iter().map(|(tee, below)| missing(tee, below, book)).sum();
    if missing as u64 > dropped {
        return Err(format!("{missing} were not mirrored, {dropped} are counted"));
    }
    Ok(())
}

fn missing(tee: &Tee, below: &[Part], book: &Book) -> usize {
    let (Some(first), Some(_)) = (server(below), server(&tee.second)) else { return 0 };
    // Where servers fail, these chains answer what they owe, and nothing is missing to the Tee.
    let goes_on = !matches!(tee.second.last(), Some(Part::Single { is_shared: false, .. }));
    if tee.sample < 100 || (book.has_server_fault && goes_on) {
        return 0;
    }
    let is_due = |kind| outcomes(&tee.second, kind).but(Outcome::Forgotten) == Outcomes::only(Outcome::Own);
    // Where one of these has forgotten a statement, the other's reply may be the chain's.
    let seconds = answering(&tee.second);
    let has_run = |nonce| seconds.iter().any(|second| book.ran.contains(&(*second, nonce)));
    ran(book, first).filter(|(nonce, kind)| is_due(*kind) && !has_run(*nonce)).count()
}

/// The servers whose replies may be those of a chain: its own, and of a Tee that can be switched over the second one.
fn answering(chain: &[Part]) -> Vec<Server> {
    let switched = chain.iter().filter_map(|part| match part {
        Part::Tee(tee) if tee.has_switch => Some(answering(&tee.second)),
        _ => None,
    });
    server(chain).into_iter().chain(switched.flatten()).collect()
}
