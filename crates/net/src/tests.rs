//! What only real sockets and threads show.

use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use chain::Connector;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::connect::first_of;
use crate::place::Permit;
use crate::reactor::tests::{reactor, run, sleep};
use crate::resolve::Resolver;
use crate::tcp::keep_alive;
use crate::{Accepted, Counts, Listening, Seat, Serve, TcpConnector, Workers, bind, listen};

/// Runs a future as the control thread does.
fn on_the_control_thread<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// An address where nobody listens.
fn refusing() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An address that swallows packets while what is returned with it lives: its backlog is full, and nobody accepts.
fn silent_address() -> (SocketAddr, Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let filler = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        drop(socket.connect(&address));
        socket
    };
    let fillers = (0..4).map(filler).collect();
    (address.as_socket().unwrap(), listener, fillers)
}

#[test]
fn every_address_is_tried_though_one_swallows_packets_and_one_refuses() {
    let (silent, _kept, _fillers) = silent_address();
    let answering = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = vec![refusing(), silent, answering.local_addr().unwrap()];
    let begun = run(&mut reactor(), |reactor| async move {
        first_of(addresses, &reactor).await.unwrap();
        reactor.clock().now()
    });
    assert!((250_000..5_000_000).contains(&begun.0), "{begun:?}");
}

#[test]
fn the_last_error_is_told_when_no_address_answers() {
    run(&mut reactor(), |reactor| async move {
        let error = first_of(vec![refusing(), refusing()], &reactor).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let error = first_of(Vec::new(), &reactor).await.err().unwrap();
        assert_eq!(error.to_string(), "the name has no addresses");
    });
}

#[test]
fn names_are_resolved_and_those_that_are_none_are_told() {
    run(&mut reactor(), |reactor| async move {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let connector = TcpConnector::new(reactor);
        let port = listener.local_addr().unwrap().port();
        for name in ["localhost", "127.0.0.1"] {
            connector.connect(&format!("{name}:{port}")).await.unwrap();
        }
        for name in ["no such name:9042", "no.such.name.invalid:9042", "127.0.0.1"] {
            assert!(connector.connect(name).await.is_err(), "{name}");
        }
    });
}

#[test]
fn names_that_are_never_answered_hold_up_no_others_up_to_a_limit() {
    let resolver = Resolver::new(|name| match name {
        "slow" => {
            std::thread::park_timeout(Duration::from_secs(60));
            Ok(Vec::new())
        }
        _ => Ok(vec![refusing()]),
    });
    on_the_control_thread(async {
        let mut asked: Vec<_> = (0..15).map(|_| Box::pin(resolver.resolve("slow"))).collect();
        for question in &mut asked {
            assert!(tokio::time::timeout(Duration::from_millis(1), question).await.is_err());
        }
        let answers: Vec<_> = (0..100).map(|_| Box::pin(resolver.resolve("quick"))).collect();
        for answer in answers {
            assert_eq!(answer.await.unwrap().len(), 1);
        }
    });
}

#[test]
fn both_ends_notice_peers_that_are_gone() {
    on_the_control_thread(async {
        let bound = bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(bound.local_addr).unwrap();
        let (accepted, _) = bound.listener.accept().await.unwrap();
        let (connecting, _end) = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = mio::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            keep_alive(&socket).unwrap();
            (socket, listener)
        };
        for socket in [SockRef::from(&accepted), SockRef::from(&connecting)] {
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 6);
        }
        drop(client);
    });
}

/// Says of each client whether its socket keeps alive; the first one makes it panic.
struct Clients(Arc<AtomicUsize>);

impl Serve for Clients {
    type Snapshot = ();
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        assert!(accepted.id > 1, "the first client ends its task");
        let keepalive = SockRef::from(&accepted.socket).keepalive().unwrap();
        self.0.fetch_add(usize::from(keepalive), Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
    fn snapshot(&self) {}
    fn housekeeping(&self) {}
}

struct Uncounted;

impl Counts for Uncounted {
    fn opened(&self) {}
    fn closed(&self) {}
    fn accept_failed(&self) {}
    fn create_failed(&self) {}
}

fn listening(connection_limit: usize, hard_connection_limit: bool) -> Listening {
    let counts = Arc::new(Uncounted);
    Listening { source: 0, name: "c".to_owned(), connection_limit, hard_connection_limit, counts }
}

#[test]
fn a_panic_costs_one_client_and_accepted_sockets_keep_alive() {
    let kept_alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&kept_alive);
    let (workers, _threads) = Workers::start(1, 1024 * 1024, move |_| Clients(Arc::clone(&counted))).unwrap();
    on_the_control_thread(async {
        let bound = bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr;
        tokio::spawn(listen(listening(8, false), bound, Arc::new(workers)));
        let _clients: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        for _ in 0..1000 {
            if kept_alive.load(Ordering::Relaxed) == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(kept_alive.load(Ordering::Relaxed), 2);
}

/// Its clients stay until there are permits.
struct Gated(Arc<Semaphore>);

impl Serve for Gated {
    type Snapshot = ();
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let gate = Arc::clone(&self.0);
        Box::pin(async move {
            drop(gate.acquire_owned().await);
            drop(accepted);
        })
    }
    fn snapshot(&self) {}
    fn housekeeping(&self) {}
}

#[test]
fn a_source_that_is_free_again_listens_on_the_port_it_had() {
    let gate = Arc::new(Semaphore::new(0));
    let kept = Arc::clone(&gate);
    let (workers, _threads) = Workers::start(1, 1024 * 1024, move |_| Gated(Arc::clone(&kept))).unwrap();
    on_the_control_thread(async {
        let bound = bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr;
        tokio::spawn(listen(listening(1, true), bound, Arc::new(workers)));
        let becomes = async |is_open: bool| {
            for _ in 0..1000 {
                if tokio::net::TcpStream::connect(address).await.is_ok() == is_open {
                    return true;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            false
        };
        assert!(becomes(true).await);
        assert!(becomes(false).await, "at its limit it is closed");
        gate.add_permits(1);
        assert!(becomes(true).await, "another port");
    });
}

/// Its clients connect to a name that the resolver does not answer.
struct Connecting(TcpConnector);

impl Serve for Connecting {
    type Snapshot = ();
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let mut connecting = self.0.connect("a.name:9042");
        let mut is_first = true;
        Box::pin(poll_fn(move |task| {
            let _kept = &accepted;
            if is_first {
                is_first = false;
                assert!(connecting.as_mut().poll(task).is_pending());
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        }))
    }
    fn snapshot(&self) {}
    fn housekeeping(&self) {}
}

#[test]
fn a_worker_ends_though_a_name_is_still_being_resolved() {
    let resolver = Resolver::new(|_| {
        std::thread::park_timeout(Duration::from_secs(60));
        Ok(Vec::new())
    });
    let make = |seat: &Seat| Connecting(TcpConnector::new(seat.reactor.clone()));
    let (workers, threads) = Workers::start_with(1, 1024 * 1024, &resolver, make).unwrap();
    on_the_control_thread(async {
        let _client = hand_over_one(&workers).await;
        workers.drain(Duration::from_secs(1)).await;
        assert!(have_ended(threads).await);
    });
}

async fn hand_over_one<N: Send + 'static>(workers: &Workers<N>) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, peer) = listener.accept().await.unwrap();
    let socket = socket.into_std().unwrap();
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let permit = Permit::new(permit, Arc::new(Uncounted));
    workers.hand_over(permit, |place| Accepted { source: 0, id: 1, peer, socket, place }).await;
    client
}

async fn have_ended(threads: Vec<JoinHandle<()>>) -> bool {
    let ended = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the end").unwrap()
}

/// Its clients stay until they are drained.
struct Staying(Seat);

impl Serve for Staying {
    type Snapshot = usize;
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let mut ear = self.0.drain.seat();
        Box::pin(poll_fn(move |task| {
            let _kept = &accepted;
            if ear.deadline(task.waker()).is_some() { Poll::Ready(()) } else { Poll::Pending }
        }))
    }
    fn snapshot(&self) -> usize {
        7
    }
    fn housekeeping(&self) {}
}

#[test]
fn workers_answer_scrapes_and_end_when_they_are_drained() {
    let (workers, threads) = Workers::start(2, 1024 * 1024, |seat| Staying(seat.clone())).unwrap();
    on_the_control_thread(async {
        let _clients = [hand_over_one(&workers).await, hand_over_one(&workers).await];
        assert_eq!(workers.snapshots().await, [7, 7]);
        assert!(!threads.iter().any(JoinHandle::is_finished));
        workers.drain(Duration::from_secs(1)).await;
        assert!(have_ended(threads).await);
        assert!(workers.snapshots().await.is_empty());
    });
}

/// As [`Staying`], but that they leave something to be done, and something that nobody waits for.
struct Leaving(Seat, Arc<AtomicUsize>);

impl Serve for Leaving {
    type Snapshot = ();
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let (mut ear, reactor) = (self.0.drain.seat(), self.0.reactor.clone());
        let done = Arc::clone(&self.1);
        Box::pin(poll_fn(move |task| {
            let _kept = &accepted;
            if ear.deadline(task.waker()).is_none() {
                return Poll::Pending;
            }
            let (handle, done) = (reactor.clone(), Arc::clone(&done));
            reactor.spawn(Box::pin(std::future::pending()));
            reactor.spawn_awaited(Box::pin(async move {
                sleep(&handle, Duration::from_millis(100)).await;
                done.fetch_add(1, Ordering::Relaxed);
            }));
            Poll::Ready(())
        }))
    }
    fn snapshot(&self) {}
    fn housekeeping(&self) {}
}

#[test]
fn a_worker_ends_when_what_its_clients_left_to_be_done_is_done() {
    let done = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&done);
    let make = move |seat: &Seat| Leaving(seat.clone(), Arc::clone(&left));
    let (workers, threads) = Workers::start(1, 1024 * 1024, make).unwrap();
    on_the_control_thread(async {
        let _client = hand_over_one(&workers).await;
        workers.drain(Duration::from_secs(1)).await;
        assert!(have_ended(threads).await);
    });
    assert_eq!(done.load(Ordering::Relaxed), 1);
}

#[test]
fn workers_that_nobody_can_give_orders_to_end_with_their_last_client() {
    let (workers, threads) = Workers::start(2, 1024 * 1024, |seat| Staying(seat.clone())).unwrap();
    drop(workers);
    assert!(on_the_control_thread(have_ended(threads)));
}

/// Counts its clients, which leave at once; the first worker that is asked for a snapshot ends.
struct Fragile {
    asked: Arc<AtomicUsize>,
    clients: Arc<AtomicUsize>,
}

impl Serve for Fragile {
    type Snapshot = ();
    fn client(&self, _: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        self.clients.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
    fn snapshot(&self) {
        assert!(self.asked.fetch_add(1, Ordering::Relaxed) > 0, "this ends a worker");
    }
    fn housekeeping(&self) {}
}

#[test]
fn a_worker_that_has_ended_gets_no_clients() {
    let (asked, clients) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&clients);
    let make = move |_: &Seat| Fragile { asked: Arc::clone(&asked), clients: Arc::clone(&counted) };
    let (workers, mut threads) = Workers::start(2, 1024 * 1024, make).unwrap();
    on_the_control_thread(async {
        assert_eq!(workers.snapshots().await.len(), 1);
        assert!(threads.remove(0).join().is_err());
        let _clients = [hand_over_one(&workers).await, hand_over_one(&workers).await];
        workers.drain(Duration::from_secs(1)).await;
        tokio::time::timeout(Duration::from_secs(10), workers.gone()).await.unwrap();
    });
    assert_eq!(clients.load(Ordering::Relaxed), 2);
}

#[test]
fn workers_do_not_start_without_one_that_cannot_be_made() {
    let made = AtomicUsize::new(0);
    let make = move |seat: &Seat| {
        assert!(made.fetch_add(1, Ordering::Relaxed) > 0, "the first cannot be made");
        Staying(seat.clone())
    };
    assert!(Workers::start(2, 1024 * 1024, make).is_err());
}
