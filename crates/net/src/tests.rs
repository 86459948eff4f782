//! What only real sockets and threads show.

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use crate::connect::first_of;
use crate::{Accepted, Counts, Listening, Serve, Workers, bind, listen};

/// Runs a future where it can have tasks that stay on this thread, as on a worker.
fn on_a_worker<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(future)
}

/// An address that swallows packets: its backlog is full, and nobody accepts.
async fn silent_address() -> (SocketAddr, TcpListener, Vec<tokio::task::JoinHandle<()>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let fill = |_| {
        tokio::spawn(async move {
            let held = tokio::net::TcpStream::connect(address).await;
            std::future::pending::<()>().await;
            drop(held);
        })
    };
    let fillers = (0..4).map(fill).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    (address, listener, fillers)
}

#[test]
fn every_address_is_tried_though_one_swallows_packets_and_one_refuses() {
    on_a_worker(async {
        let (silent, _kept, _fillers) = silent_address().await;
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let answering = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [refusing, silent, answering.local_addr().unwrap()];
        let attempt = tokio::time::timeout(Duration::from_secs(5), first_of(addresses.into_iter())).await;
        assert!(attempt.expect("an answer in time").is_ok());
    });
}

#[test]
fn the_last_error_is_told_when_no_address_answers() {
    on_a_worker(async {
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = first_of([refusing, refusing].into_iter()).await.err().unwrap();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        let error = first_of(std::iter::empty()).await.err().unwrap();
        assert_eq!(error.to_string(), "the name has no addresses");
    });
}

/// Says of each client whether its socket keeps alive; the first one makes it panic.
struct Clients(Arc<AtomicUsize>);

impl Serve for Clients {
    type Snapshot = ();
    fn client(&self, accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        assert!(accepted.id > 1, "the first client ends its task");
        let socket = TcpSocket::from_std_stream(accepted.socket);
        self.0.fetch_add(usize::from(socket.keepalive().unwrap()), Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
    fn snapshot(&self) {}
    fn housekeeping(&self) {}
}

struct Uncounted;

impl Counts for Uncounted {
    fn opened(&self) {}
    fn accept_failed(&self) {}
    fn create_failed(&self) {}
    fn available(&self, _places: usize) {}
}

#[test]
fn a_panic_costs_one_client_and_accepted_sockets_keep_alive() {
    let kept_alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&kept_alive);
    let (workers, _threads) = Workers::start(1, 1024 * 1024, move |_| Clients(Arc::clone(&counted))).unwrap();
    on_a_worker(async {
        let bound = bind("127.0.0.1:0").unwrap();
        let address = bound.local_addr().unwrap();
        let listening = Listening {
            source: 0,
            name: "c".to_owned(),
            connection_limit: 8,
            hard_connection_limit: false,
            counts: Arc::new(Uncounted),
        };
        tokio::task::spawn_local(listen(listening, bound, Arc::new(workers)));
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

/// Begins something slow off the worker for its client, as resolving a name is, and forgets it.
struct Forgetful;

impl Serve for Forgetful {
    type Snapshot = ();
    fn client(&self, _accepted: Accepted) -> Pin<Box<dyn Future<Output = ()>>> {
        let (kept, silent) = std::sync::mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || {
            silent.recv_timeout(Duration::from_secs(60)).unwrap_or_default();
            drop(kept);
        }));
        Box::pin(std::future::ready(()))
    }
    fn snapshot(&self) {}
    fn housekeeping(&self) {}
}

#[test]
fn a_worker_ends_though_a_name_is_still_being_resolved() {
    let (workers, threads) = Workers::start(1, 1024 * 1024, |_| Forgetful).unwrap();
    on_a_worker(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        let socket = socket.into_std().unwrap();
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).acquire_owned().await.unwrap();
        workers.hand_over(permit, |place| Accepted { source: 0, id: 1, peer, socket, place }).await;
        workers.drain(Duration::from_secs(1)).await;
        let ended =
            tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        assert!(tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the end").unwrap());
    });
}
