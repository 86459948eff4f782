//! What the Rust driver sees: a line a case, the same direct and through the proxy.

use futures::TryStreamExt;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::Batch;

const KEYSPACE: &str = "rust_suite";

/// Runs every case.
pub(crate) fn suite(port: u16, login: Option<(&str, &str)>) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut builder = SessionBuilder::new().known_node(format!("127.0.0.1:{port}"));
        if let Some((user, password)) = login {
            builder = builder.user(user, password);
        }
        let session = builder.build().await.unwrap();
        let mut cases = schema_and_rows(&session).await;
        cases.extend(statements(&session).await);
        session.query_unpaged(format!("DROP KEYSPACE {KEYSPACE}"), ()).await.unwrap();
        cases
    })
}

async fn schema_and_rows(session: &Session) -> Vec<String> {
    session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {KEYSPACE}"), ()).await.unwrap();
    let create = format!(
        "CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    );
    session.query_unpaged(create, ()).await.unwrap();
    session.use_keyspace(KEYSPACE, false).await.unwrap();
    session
        .query_unpaged(
            "CREATE TABLE rows (part int, item int, text text, tags set<text>, PRIMARY KEY (part, item))",
            (),
        )
        .await
        .unwrap();
    let insert =
        session.prepare("INSERT INTO rows (part, item, text, tags) VALUES (?, ?, ?, ?)").await.unwrap();
    for item in 0..500 {
        session.execute_unpaged(&insert, (1, item, format!("row {item}"), vec!["a", "b"])).await.unwrap();
    }
    let mut select =
        scylla::statement::unprepared::Statement::new("SELECT item, text, tags FROM rows WHERE part = 1");
    select.set_page_size(70);
    let rows =
        session.query_iter(select, ()).await.unwrap().rows_stream::<(i32, String, Vec<String>)>().unwrap();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

async fn statements(session: &Session) -> Vec<String> {
    let mut cases = Vec::new();
    let insert = session.prepare("INSERT INTO rows (part, item) VALUES (?, ?)").await.unwrap();
    let mut batch = Batch::default();
    let mut values = Vec::new();
    for item in 0..20 {
        batch.append_statement(insert.clone());
        values.push((2, item));
    }
    session.batch(&batch, values).await.unwrap();
    let count = session.query_unpaged("SELECT count(*) FROM rows WHERE part = 2", ()).await.unwrap();
    let count: (i64,) = count.into_rows_result().unwrap().single_row().unwrap();
    cases.push(format!("batch {}", count.0));
    for text in ["SELEKT 1", "SELECT * FROM nothing_here"] {
        cases.push(format!("{}", session.query_unpaged(text, ()).await.unwrap_err()));
    }
    session.await_schema_agreement().await.unwrap();
    let state = session.get_cluster_state();
    cases.push(format!("{} node", state.get_nodes_info().len()));
    cases
}
