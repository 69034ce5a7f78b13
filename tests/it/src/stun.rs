//! STUN against a server that others wrote: coturn.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::mrt::{Config, LocalKeys};
use harness::natlab::{self, Access, Lab, Nat};
use harness::node::Node as NodeAtTerminal;
use harness::privilege;
use harness::process::{Launch, Process};
use harness::wait::wait_until;
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

/// coturn on these addresses, which have one port.
fn start(servers: &[SocketAddr], netns: Option<String>, dir: &Path) -> Process {
    let port = servers[0].port().to_string();
    let pid = dir.join("pid").display().to_string();
    let ips = servers.iter().flat_map(|server| ["--listening-ip".to_owned(), server.ip().to_string()]);
    // As the name says no TURN; without a configuration file, and without a port for managing it.
    let args = ["-n", "--stun-only", "--no-cli", "--no-tcp", "--no-tls", "--no-dtls", "--log-file", "stdout"];
    let where_to = ["--listening-port", &port, "--pidfile", &pid];
    Launch::new("turnserver").args(args).args(where_to).args(ips).netns(netns).start(&dir.join("turnserver"))
}

#[test]
fn coturn_says_where_a_node_is() {
    if !privilege::met("coturn_says_where_a_node_is", coturn()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Free a moment ago: coturn cannot choose one itself.
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut coturn = start(&[server], None, dir.path());
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

#[test]
fn two_servers_tell_where_a_node_is_seen_and_what_its_router_does() {
    let possible = natlab::possible().and_then(|()| coturn());
    if !privilege::met("two_servers_tell_where_a_node_is_seen_and_what_its_router_does", possible) {
        return;
    }
    const PORT: u16 = 3478;
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let public = lab.host_with(2, Access::Wire);
    let servers: Vec<SocketAddr> = public.addresses().iter().map(|ip| (*ip, PORT).into()).collect();
    let _coturn = start(&servers, Some(public.netns()), root.path());
    let args: Vec<String> = servers.iter().flat_map(|server| ["--stun".to_owned(), server.to_string()]).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for (name, nat, kind) in [("ann", Nat::PortRestricted, "easy NAT"), ("bob", Nat::Symmetric, "hard NAT")] {
        let home = lab.home(nat);
        let mut node = NodeAtTerminal::start(root.path(), name, Some(home.host().netns()), &args);
        // It may be there before the prompt.
        let seen = format!("Others see this node at {}:", home.public_address());
        wait_until(SOON, &seen, || node.screen().contains(&seen));
        node.types("L");
        node.sees(&format!("{name}  you, seen at {}:", home.public_address()));
        node.sees(kind);
    }
    let mut eve = NodeAtTerminal::start(root.path(), "eve", Some(lab.host().netns()), &args);
    wait_until(SOON, "her own address", || eve.screen().contains("Others see this node at "));
    eve.types("L");
    eve.sees("no NAT");
}

#[test]
fn a_stun_server_that_is_silent_is_named() {
    let root = tempfile::tempdir().unwrap();
    // Nobody answers there as long as this socket is.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let args = ["--stun", &silent.to_string(), "--stun", "no-such-name.invalid:1"];
    let mut ann = NodeAtTerminal::start(root.path(), "ann", None, &args);
    ann.sees(&format!("The STUN server {silent} did not say where this node is seen: "));
    ann.sees("The STUN server no-such-name.invalid:1 did not say where this node is seen: its address cannot be found");
    ann.types("L");
    ann.sees("ann  you, at [::]:");
}
