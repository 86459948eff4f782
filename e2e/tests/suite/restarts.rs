//! Cassandra is killed again and again under load: nobody hangs, nobody gets another's rows, service returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::prepared::PreparedStatement;
use testkit::{Authenticator, Cassandra, Child, Proxy};

use crate::is_full;

/// How long a client's driver waits for a reply.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a busy machine may add to that.
const SLACK: Duration = Duration::from_secs(5);

/// Clients that look at each of their replies, beside cassandra-stress.
const CLIENTS: i64 = 4;

/// How long service may take to return once Cassandra listens, the driver's longest pause between two attempts; and how
/// long it may take to begin.
const RETURN_MAX: Duration = Duration::from_secs(60);

/// What the clients have seen, all together.
#[derive(Default)]
struct Seen {
    ends: AtomicBool,
    /// Rows read back right, one count a client.
    right: [AtomicU64; CLIENTS as usize],
    failed: AtomicU64,
}

/// Long waits: a Cassandra that has only just started on a busy machine is slow to answer a session's first questions.
async fn connect(port: u16) -> Session {
    let profile = ExecutionProfile::builder().request_timeout(Some(RETURN_MAX)).build();
    let builder = SessionBuilder::new()
        .known_node(format!("127.0.0.1:{port}"))
        .connection_timeout(RETURN_MAX)
        .default_execution_profile_handle(profile.into_handle());
    builder.build().await.unwrap()
}

/// A statement whose execution may take no longer than [`TIMEOUT`].
async fn prepare(session: &Session, text: &str) -> PreparedStatement {
    let mut statement = session.prepare(text).await.unwrap();
    statement.set_request_timeout(Some(TIMEOUT));
    statement
}

async fn make_table(port: u16) {
    let session = connect(port).await;
    for text in [
        "CREATE KEYSPACE kills WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE kills.rows (client bigint, key bigint, value text, PRIMARY KEY ((client, key)))",
    ] {
        session.query_unpaged(text, ()).await.unwrap();
    }
}

/// Writes a row, or reads one it has written, and looks whether the reply is its own. A row names its client, its key
/// and when it was written, so that nobody else's could pass for it.
async fn one_round(
    session: &Session,
    (insert, select): (&PreparedStatement, &PreparedStatement),
    (client, round): (i64, i64),
) -> Result<bool, String> {
    let key = round % 50;
    session
        .execute_unpaged(insert, (client, key, format!("{client} {key} {round}")))
        .await
        .map_err(|error| error.to_string())?;
    let result = session.execute_unpaged(select, (client, key)).await.map_err(|error| error.to_string())?;
    let row = result.into_rows_result().unwrap().maybe_first_row::<(i64, i64, String)>().unwrap();
    // A killed server may have lost what it had acknowledged; it may not have anything else.
    let Some((row_client, row_key, value)) = row else { return Ok(false) };
    let words: Vec<i64> = value.split(' ').map(|word| word.parse().unwrap()).collect();
    assert_eq!((row_client, row_key, &words[..2]), (client, key, &[client, key][..]), "a row of another");
    assert!(words[2] <= round && words[2] % 50 == key, "a row that was never written: {value}");
    Ok(true)
}

async fn watch(port: u16, client: i64, seen: Arc<Seen>) {
    let session = connect(port).await;
    let insert = prepare(&session, "INSERT INTO kills.rows (client, key, value) VALUES (?, ?, ?)").await;
    let select = "SELECT client, key, value FROM kills.rows WHERE client = ? AND key = ?";
    let select = prepare(&session, select).await;
    let mut round = 0;
    while !seen.ends.load(Ordering::Relaxed) {
        round += 1;
        let began = Instant::now();
        let outcome = one_round(&session, (&insert, &select), (client, round)).await;
        // Two requests a round.
        assert!(began.elapsed() < TIMEOUT * 2 + SLACK, "client {client} hung for {:?}", began.elapsed());
        match outcome {
            Ok(true) => drop(seen.right[client as usize].fetch_add(1, Ordering::Relaxed)),
            Ok(false) => {}
            Err(_) => {
                seen.failed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Waits until every client has read rows again.
fn wait_for_service(seen: &Seen) {
    let before = seen.right.each_ref().map(|right| right.load(Ordering::Relaxed));
    let began = Instant::now();
    while seen.right.iter().zip(before).any(|(right, before)| right.load(Ordering::Relaxed) < before + 10) {
        assert!(began.elapsed() < RETURN_MAX, "no service {:?} after the server", began.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn service_returns_with_the_server() {
    let kills = if is_full() { 20 } else { 1 };
    let mut cassandra = Cassandra::start(Authenticator::AllowAll).unwrap();
    let proxy = Proxy::passthrough(cassandra.port);
    let stress = |count: &str, errors: &str| {
        let arguments =
            ["write", "no-warmup", count, "-errors", errors, "-rate", "threads=8", "-mode", "native", "cql3"];
        testkit::stress(&arguments, proxy.port).unwrap()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(make_table(proxy.port));
    let seen = Arc::new(Seen::default());
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| runtime.spawn(watch(proxy.port, client, Arc::clone(&seen)))).collect();
    for kill in 1..=kills {
        wait_for_service(&seen);
        let mut under_load = Child::start(&mut stress("n=2000000", "retries=0 ignore"));
        under_load.wait_for_line("total,", Duration::from_secs(60)).unwrap();
        std::thread::sleep(Duration::from_secs(2));
        cassandra.kill();
        std::thread::sleep(Duration::from_secs(1));
        under_load.kill();
        cassandra.start_again().unwrap();
        wait_for_service(&seen);
        let output = stress("n=1000", "retries=3").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("END"), "{said}");
        println!("kill {kill} of {kills}: {} requests failed so far", seen.failed.load(Ordering::Relaxed));
    }
    seen.ends.store(true, Ordering::Relaxed);
    for client in clients {
        runtime.block_on(client).unwrap();
    }
    assert!(seen.failed.load(Ordering::Relaxed) > 0, "no client noticed that the server was killed");
    proxy.stop().unwrap();
}
