//! A real Cassandra behind the proxy, and real drivers in front of it.

use std::path::PathBuf;
use std::process::Command;

use testkit::{Authenticator, Cassandra, Proxy, servers_folder, workspace};

/// The interpreter of a virtual environment that has the Python driver.
pub(crate) fn python() -> PathBuf {
    let folder = servers_folder().join("python");
    let interpreter = folder.join("bin/python");
    if !folder.join("ready").exists() {
        let run = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        std::fs::create_dir_all(servers_folder()).unwrap();
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        run(Command::new(&interpreter).args(["-m", "pip", "install", "--quiet", "cassandra-driver==3.29.3"]));
        std::fs::write(folder.join("ready"), "").unwrap();
    }
    interpreter
}

/// What the Python driver's suite prints.
pub(crate) fn python_suite(port: u16, login: &[&str]) -> String {
    let mut command = Command::new(python());
    command.arg(workspace().join("e2e/drivers/suite.py")).arg(port.to_string()).args(login);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("end\n"), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A proxy whose clients share connections.
fn shared_proxy(to: u16) -> Proxy {
    let sink = format!(
        "CassandraSinkSingle: {{name: s, remote_address: '127.0.0.1:{to}', connect_timeout_ms: 3000, connections: Shared}}"
    );
    Proxy::with_chain(&format!("[{sink}]"), "")
}

#[test]
fn drivers_see_the_same_direct_and_through_the_proxy() {
    let cassandra = Cassandra::start(Authenticator::AllowAll).unwrap();
    let proxy = Proxy::passthrough(cassandra.port);
    let direct = python_suite(cassandra.port, &[]);
    assert_eq!(python_suite(proxy.port, &[]), direct);
    println!("{direct}");
    let shared = shared_proxy(cassandra.port);
    assert_eq!(python_suite(shared.port, &[]), direct);
    shared.stop().unwrap();
    assert_eq!(crate::scylla::suite(proxy.port, None), crate::scylla::suite(cassandra.port, None));
    proxy.stop().unwrap();
}

#[test]
fn drivers_log_in_through_the_proxy() {
    let cassandra = Cassandra::start(Authenticator::Password).unwrap();
    let proxy = Proxy::passthrough(cassandra.port);
    let login = ["cassandra", "cassandra"];
    let direct = python_suite(cassandra.port, &login);
    assert_eq!(python_suite(proxy.port, &login), direct);
    let shared = shared_proxy(cassandra.port);
    assert_eq!(python_suite(shared.port, &login), direct);
    let login = Some(("cassandra", "cassandra"));
    assert_eq!(crate::scylla::suite(proxy.port, login), crate::scylla::suite(cassandra.port, login));
    assert_eq!(crate::scylla::suite(shared.port, login), crate::scylla::suite(cassandra.port, login));
    shared.stop().unwrap();
    proxy.stop().unwrap();
}
