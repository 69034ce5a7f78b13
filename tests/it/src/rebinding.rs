//! MRT through a home's router that forgets its mappings in mid-transfer, over real sockets: the connection goes on from the
//! new address.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::mrt::{CloseCode, Config, LocalKeys, Target};
use harness::content::Content;
use harness::emulator::Link;
use harness::natlab::{self, Access, Home, Lab, Nat, Rebinding};
use harness::privilege;
use harness::slots::{Company, Slot};
use peer::mrt::{Connection, Node};
use peer::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MIB: usize = 1 << 20;
const LENGTH: usize = 12 * MIB;
/// The router forgets when so much has arrived.
const REBOUND_AT: [usize; 2] = [4 * MIB, 8 * MIB];
const BITS_PER_SEC: u64 = 40_000_000;
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// It should be three round trips. The rest is for a machine with other work; a connection that has to find out by a timeout
/// of its own, or is made anew, takes longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Nothing here takes so long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// Who writes, seen from the home.
#[derive(Debug, Clone, Copy)]
enum Flow {
    Upload,
    Download,
}

#[test]
fn an_upload_goes_on_from_a_new_port() {
    goes_on("an_upload_goes_on_from_a_new_port", Flow::Upload, Rebinding::Port);
}

#[test]
fn an_upload_goes_on_from_a_new_address() {
    goes_on("an_upload_goes_on_from_a_new_address", Flow::Upload, Rebinding::Address);
}

#[test]
fn a_download_goes_on_to_a_new_port() {
    goes_on("a_download_goes_on_to_a_new_port", Flow::Download, Rebinding::Port);
}

#[test]
fn a_download_goes_on_to_a_new_address() {
    goes_on("a_download_goes_on_to_a_new_address", Flow::Download, Rebinding::Address);
}

fn goes_on(test: &str, flow: Flow, rebinding: Rebinding) {
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let _alone = Slot::take(Company::Alone);
    let lab = Lab::new();
    let access = Access::alike(Link::new(BITS_PER_SEC, ROUND_TRIP / 2));
    let (home, server) = (Arc::new(lab.home_over(Nat::PortRestricted, access)), lab.host());
    let host = home.host();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let transfer = run(flow, rebinding, [host.udp(), server.udp()], Arc::clone(&home));
    let pause = runtime.block_on(async { tokio::time::timeout(DEADLINE, transfer).await }).expect("it ends");
    println!("{flow:?}, {rebinding:?}: {:.1} round trips", pause.as_secs_f64() / ROUND_TRIP.as_secs_f64());
    assert!(pause < LONGEST_PAUSE, "{flow:?}, {rebinding:?}: {pause:?}");
}

/// Connects the two sockets and transfers; gives the longest time in which nothing arrived, from the first rebinding on.
async fn run(flow: Flow, rebinding: Rebinding, [at_home, at_server]: [UdpSocket; 2], home: Arc<Home>) -> Duration {
    let tasks = Tasks::new();
    let address = at_server.local_addr().unwrap();
    let [here, there] = [(1, at_home), (2, at_server)].map(|(seed, socket)| {
        let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), [3; 32]);
        Node::from_socket(&tasks, socket, Config::default(), keys).unwrap()
    });
    let (asked, accepted) = tokio::join!(here.connect(address, Target::default()), there.accept());
    let (at_home, at_server) = (asked.unwrap(), accepted.unwrap());
    let (writer, reader) = match flow {
        Flow::Upload => (&at_home, &at_server),
        Flow::Download => (&at_server, &at_home),
    };
    let mut content = vec![0; LENGTH];
    Content::random(1, LENGTH as u64).fill(0, &mut content);
    let before = at_server.route().unwrap();
    let ((), pause) = tokio::join!(send(writer, &content), receive(reader, &content, &home, rebinding));
    let after = at_server.route().unwrap();
    assert_eq!(after.remote.ip(), home.public_address(), "the connection is the same, on another path");
    assert_ne!(after.remote.port(), before.remote.port());
    at_home.close(CloseCode::DONE, "");
    tokio::join!(here.close(CloseCode::DONE, ""), there.close(CloseCode::DONE, ""));
    pause
}

async fn send(writer: &Connection, content: &[u8]) {
    let mut stream = writer.open().await.unwrap();
    stream.write_all(content).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.finished().await.unwrap();
}

/// Reads all of it, and lets the router forget meanwhile.
async fn receive(reader: &Connection, content: &[u8], home: &Arc<Home>, rebinding: Rebinding) -> Duration {
    let mut stream = reader.accept().await.unwrap();
    let mut buffer = vec![0; MIB];
    let (mut received, mut last, mut pause) = (0, Instant::now(), Duration::ZERO);
    let (mut to_come, mut rebindings) = (REBOUND_AT.iter().peekable(), Vec::new());
    loop {
        let length = stream.read(&mut buffer).await.unwrap();
        if length == 0 {
            break;
        }
        if !rebindings.is_empty() {
            pause = pause.max(last.elapsed());
        }
        last = Instant::now();
        assert!(content[received..].starts_with(&buffer[..length]), "all arrives, in order");
        received += length;
        if to_come.next_if(|at| **at <= received).is_some() {
            let home = Arc::clone(home);
            rebindings.push(tokio::task::spawn_blocking(move || home.rebind(rebinding)));
        }
    }
    assert_eq!(received, content.len());
    assert_eq!(rebindings.len(), REBOUND_AT.len());
    for done in rebindings {
        done.await.unwrap();
    }
    stream.shutdown().await.unwrap();
    pause
}
