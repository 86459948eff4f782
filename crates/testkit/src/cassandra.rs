//! A real Cassandra, and cassandra-stress.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fetch::{Missing, cassandra};
use crate::guard::Scratch;
use crate::process::{Child, free_port};

/// How long Cassandra may take to listen; 5 to 15 s are usual.
const START_MAX: Duration = Duration::from_secs(120);

/// Who may log in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Authenticator {
    /// Anybody.
    AllowAll,
    /// Whoever knows a password, to do what he was granted; at first there is one user, cassandra with password
    /// cassandra, who may do everything.
    Password,
}

/// A running Cassandra, with its data in a folder that goes with it.
pub struct Cassandra {
    child: Child,
    folder: Scratch,
    jars: PathBuf,
    /// Where it serves CQL, on 127.0.0.1.
    pub port: u16,
}

/// What Cassandra needs of a JDK 17, as its own start script says.
const OPENS: [&str; 16] = [
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.management.rmi/com.sun.jmx.remote.internal.rmi=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED",
    "--add-exports=java.rmi/sun.rmi.server=ALL-UNNAMED",
    "--add-exports=java.sql/java.sql=ALL-UNNAMED",
    "--add-exports=java.base/java.lang.ref=ALL-UNNAMED",
    "--add-exports=jdk.unsupported/sun.misc=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.module=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.loader=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.reflect=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.math=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.module=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
];

impl Cassandra {
    /// Gets and starts one, with no data.
    ///
    /// # Errors
    /// What is missing on this machine.
    pub fn start(authenticator: Authenticator) -> Result<Self, Missing> {
        let (jars, _) = cassandra()?;
        let port = free_port();
        let problem = |error: std::io::Error| Missing(format!("a folder for Cassandra's data: {error}"));
        let folder = Scratch::new("cassandra").map_err(problem)?;
        write_configuration(folder.path(), port, authenticator).map_err(problem)?;
        let child = launch(&jars, folder.path());
        let mut cassandra = Self { child, folder, jars, port };
        cassandra.wait_until_it_listens()?;
        Ok(cassandra)
    }

    /// Stops every thread until [`Cassandra::go_on`].
    pub fn pause(&self) {
        self.child.signal("STOP");
    }

    /// Ends a pause.
    pub fn go_on(&self) {
        self.child.signal("CONT");
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts it again on its data.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<(), Missing> {
        self.child.kill();
        self.child = launch(&self.jars, self.folder.path());
        self.wait_until_it_listens()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Missing> {
        self.child.wait_for_line("Starting listening for CQL", START_MAX).map_err(Missing)?;
        // It says so before it does.
        let deadline = Instant::now() + START_MAX;
        while let Err(error) = TcpStream::connect(("127.0.0.1", self.port)) {
            if Instant::now() > deadline {
                return Err(Missing(format!("Cassandra does not listen on port {}: {error}", self.port)));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn write_configuration(folder: &Path, port: u16, authenticator: Authenticator) -> std::io::Result<()> {
    let conf = folder.join("conf");
    fs::create_dir_all(&conf)?;
    let storage_port = free_port();
    let (authenticator, authorizer) = match authenticator {
        Authenticator::AllowAll => ("AllowAllAuthenticator", "AllowAllAuthorizer"),
        Authenticator::Password => ("PasswordAuthenticator", "CassandraAuthorizer"),
    };
    let yaml = format!(
        "cluster_name: test\n\
         num_tokens: 1\n\
         partitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         commitlog_sync: periodic\n\
         commitlog_sync_period: 10s\n\
         seed_provider:\n\
         - class_name: org.apache.cassandra.locator.SimpleSeedProvider\n  \
           parameters: [{{seeds: '127.0.0.1:{storage_port}'}}]\n\
         listen_address: 127.0.0.1\n\
         storage_port: {storage_port}\n\
         rpc_address: 127.0.0.1\n\
         native_transport_port: {port}\n\
         endpoint_snitch: SimpleSnitch\n\
         auto_bootstrap: false\n\
         user_defined_functions_enabled: true\n\
         native_transport_max_frame_size: 256MiB\n\
         commitlog_segment_size: 64MiB\n\
         authenticator: {authenticator}\n\
         authorizer: {authorizer}\n\
         write_request_timeout: 10s\n\
         read_request_timeout: 20s\n\
         request_timeout: 20s\n"
    );
    fs::write(conf.join("cassandra.yaml"), yaml)?;
    fs::write(conf.join("cassandra-rackdc.properties"), "dc=dc1\nrack=rack1\n")?;
    let logback = "<configuration><appender name=\"OUT\" class=\"ch.qos.logback.core.ConsoleAppender\"><encoder>\
                   <pattern>%-5level %date{HH:mm:ss} %msg%n</pattern></encoder></appender>\
                   <root level=\"INFO\"><appender-ref ref=\"OUT\"/></root></configuration>";
    fs::write(conf.join("logback.xml"), logback)
}

/// The jar whose name begins so.
fn jar(jars: &Path, beginning: &str) -> Option<PathBuf> {
    let mut files = fs::read_dir(jars).into_iter().flatten().flatten().map(|entry| entry.path());
    files.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning)))
}

fn launch(jars: &Path, folder: &Path) -> Child {
    let mut command = Command::new("java");
    if let Some(jamm) = jar(jars, "jamm-") {
        command.arg(format!("-javaagent:{}", jamm.display()));
    }
    command.args(["-Xms1G", "-Xmx1G", "-XX:+UseG1GC", "-Xss512k", "-XX:+PerfDisableSharedMem"]);
    command.args(OPENS);
    command.args([
        "-Dcassandra-foreground=yes",
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=0",
        "-Dcassandra.superuser_setup_delay_ms=0",
        // A password is made expensive to guess; tests log in often.
        "-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4",
    ]);
    command.arg(format!("-Dcassandra.storagedir={}", folder.display()));
    // Libraries are unpacked there, and stay when it is killed.
    command.arg(format!("-Djava.io.tmpdir={}", folder.display()));
    command.arg(format!("-Dcassandra.jmx.local.port={}", free_port()));
    command.arg("-cp").arg(format!("{}:{}/*", folder.join("conf").display(), jars.display()));
    command.arg("org.apache.cassandra.service.CassandraDaemon");
    command.current_dir(folder);
    Child::start(&mut command)
}

/// A command that runs cassandra-stress with these arguments against a local port.
///
/// # Errors
/// What is missing on this machine.
pub fn stress(arguments: &[&str], port: u16) -> Result<Command, Missing> {
    let (jars, folder) = cassandra()?;
    // As its own script does, but without a shell in between: who kills the command must kill what it started.
    let parts = ["conf", "lib/*", "tools/lib/*"].map(|part| folder.join(part));
    // Its own HdrHistogram needs a class that a JDK 17 has no more; Cassandra brings a newer one.
    let newer = jar(&jars, "HdrHistogram-");
    let classes: Vec<String> =
        newer.into_iter().chain(parts).map(|part| part.display().to_string()).collect();
    let mut command = Command::new("java");
    command.args([
        "-server",
        "-Xmx512M",
        "-cp",
        &classes.join(":"),
        "-Dlogback.configurationFile=logback-tools.xml",
    ]);
    command.arg("org.apache.cassandra.stress.Stress");
    command.args(arguments).args(["-node", "127.0.0.1", "-port", &format!("native={port}")]);
    Ok(command)
}
