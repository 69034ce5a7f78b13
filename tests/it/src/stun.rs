//! STUN against a server that others wrote: coturn.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::mrt::{Config, LocalKeys};
use harness::privilege;
use harness::process::{Launch, Process};
use peer::mrt::{BindOptions, Node, SocketId};
use peer::tasks::Tasks;

/// Until the server has started.
const SOON: Duration = Duration::from_secs(20);

/// Whether coturn is there.
fn coturn() -> Result<(), String> {
    match Command::new("turnserver").arg("--version").output() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("turnserver (Debian: coturn) cannot be run: {error}")),
    }
}

fn start(server: SocketAddr, dir: &std::path::Path) -> Process {
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let pid = dir.join("pid").display().to_string();
    // As the name says no TURN; without a configuration file, and without a port for managing it.
    let args = ["-n", "--stun-only", "--no-cli", "--no-tcp", "--no-tls", "--no-dtls", "--log-file", "stdout"];
    let where_to = ["--listening-ip", &ip, "--listening-port", &port, "--pidfile", &pid];
    Launch::new("turnserver").args(args).args(where_to).start(&dir.join("turnserver"))
}

#[test]
fn coturn_says_where_a_node_is() {
    if !privilege::met("coturn_says_where_a_node_is", coturn()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Free a moment ago: coturn cannot choose one itself.
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut coturn = start(server, dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tasks = Tasks::new();
        let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[1; 32])), [7; 32]);
        let listen = "127.0.0.1:0".parse().unwrap();
        let node = Node::bind(&tasks, BindOptions { listen, config: Config::default(), keys }).unwrap();
        let begin = Instant::now();
        let seen = loop {
            match node.stun(server, SocketId(0)).await {
                Ok(seen) => break seen,
                Err(error) => {
                    assert!(coturn.is_running(), "{}{}", coturn.stdout(), coturn.stderr());
                    assert!(begin.elapsed() < SOON, "{error}: {}", coturn.stdout());
                }
            }
        };
        assert_eq!(seen, node.local_addr());
        tasks.shutdown().await;
    });
}
