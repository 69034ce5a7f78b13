//! Networks without a tracker outlive their supernode, and what is under way goes on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::content::Content;
use harness::natlab::{self, Lab, Nat};
use harness::node::Node;
use harness::peer::download;
use harness::privilege;
use harness::scenario::MIB;
use harness::wait::{pause, wait_until};
use peer::command::{Command, Downloaded, Outcome};
use rustix::process::Signal;

use crate::standstill::Standstill;

/// The longest that a download may stand still when a supernode dies.
const STALL: Duration = Duration::from_secs(5);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(30);

/// What is under way to somebody when its relay dies may be asked of others, and come twice.
const MOST_BEYOND: u64 = MIB;

/// Whether `node` reaches this member, and whether directly.
fn is_direct(node: &Node, name: &str) -> Option<bool> {
    let line = node.neighbours().into_iter().find(|line| line.name == name)?;
    Some(line.way?.address.is_some())
}

fn share(node: &Node, path: &Path) {
    let shared = node.command(&Command::Register { path: path.to_owned(), users: None });
    assert!(shared.is_ok(), "{shared:?}");
}

#[test]
fn a_download_from_three_outlives_the_supernode_that_relays_one_of_them() {
    let test = "a_download_from_three_outlives_the_supernode_that_relays_one_of_them";
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let (top, open) = (lab.host(), lab.host());
    let homes = [Nat::FullCone, Nat::Symmetric, Nat::PortRestricted].map(|nat| lab.home(nat));
    let [cone, symmetric, restricted] = homes.each_ref().map(natlab::Home::host);
    let node = |name: &str, netns: String| {
        let args = ["--listen", "0.0.0.0:0", "--limit-up", "2MiB"];
        Node::start(root.path(), name, Some(netns), &args)
    };
    let ann = node("ann", top.netns());
    let mut holders =
        [("direct", open.netns()), ("punched", cone.netns()), ("relayed", symmetric.netns())].map(|(name, netns)| {
            let mut holder = node(name, netns);
            holder.types(&format!("C {} {}", top.address(), ann.port()));
            holder.sees("Connected to ann");
            holder
        });
    let mut eve = node("eve", restricted.netns());
    eve.types(&format!("C {} {}", top.address(), ann.port()));
    eve.sees("Connected to ann");
    let content = Content::random(3, 40 * MIB);
    let film: PathBuf = root.path().join("film.mkv");
    content.write(&film).unwrap();
    holders.iter().for_each(|holder| share(holder, &film));
    let brought = root.path().join("brought.mkv");
    let running = eve.start_command(&download("film.mkv", Some(&brought)));
    let all_serve = || holders.iter().all(|holder| holder.status().uploaded_bytes > MIB);
    wait_until(LIMIT, "all three to serve", all_serve);
    assert_eq!(
        ["direct", "punched", "relayed"].map(|name| is_direct(&eve, name)),
        [Some(true), Some(true), Some(false)]
    );
    ann.signal(Signal::KILL);
    // Whoever is asked how far it is stops saying so at the end.
    let done = |eve: &Node| eve.status().downloads.first().map(|progress| progress.bytes);
    let mut all = Standstill::new(done(&eve).unwrap_or_default());
    let mut relayed = Standstill::new(holders[2].status().uploaded_bytes);
    while let Some(bytes) = done(&eve) {
        all.see(bytes);
        relayed.see(holders[2].status().uploaded_bytes);
        pause();
    }
    let ended = running.finish().expect("the node answers");
    let Ok(Outcome::Downloaded(Downloaded { fetched_bytes, shares, .. })) = ended else { panic!("{ended:?}") };
    assert!(content.compare(&brought).unwrap().is_ok());
    assert_eq!(shares.len(), 3, "{shares:?}");
    let beyond = fetched_bytes - content.length();
    eprintln!("stood still for {:?}, the relayed one {:?}; {beyond} bytes beyond", all.longest, relayed.longest);
    assert!(beyond <= MOST_BEYOND, "{beyond} bytes came twice");
    assert!(all.longest < STALL, "the download stood still for {:?}", all.longest);
    assert!(relayed.longest < STALL, "what is relayed stood still for {:?}", relayed.longest);
    eve.sees("direct is the supernode now.");
    assert_eq!(is_direct(&eve, "relayed"), Some(false));
    let [direct, others @ ..] = &mut holders;
    direct.sees("This node is the supernode now.");
    others.iter_mut().for_each(|holder| holder.sees("direct is the supernode now."));
}

/// Who leads by what this node knows, and who else is there; `None` while it does not lead and knows nobody who does.
fn network(node: &Node) -> (Option<String>, BTreeSet<String>) {
    let others = node.neighbours();
    let supernode = others.iter().find(|other| other.supernode).map(|other| other.name.clone());
    (supernode, others.into_iter().map(|other| other.name).collect())
}

/// Whether these are one network with nobody else, which the first of them leads.
fn are_one(names: &[&str], nodes: &[&Node]) -> bool {
    names.iter().zip(nodes).all(|(name, node)| {
        let others: BTreeSet<String> =
            names.iter().filter(|other| *other != name).map(|other| (*other).to_owned()).collect();
        let supernode = (*name != names[0]).then(|| names[0].to_owned());
        network(node) == (supernode, others)
    })
}

#[test]
fn two_who_both_took_over_are_one_network_soon_after_the_cut_is_healed() {
    /// What the project promises.
    const HEALED: Duration = Duration::from_secs(10);
    let test = "two_who_both_took_over_are_one_network_soon_after_the_cut_is_healed";
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let names = ["ann", "bob", "cid", "dee", "eve"];
    let hosts = names.map(|_| lab.host());
    let mut nodes = Vec::new();
    for (name, host) in names.iter().zip(&hosts) {
        let mut node = Node::start(root.path(), name, Some(host.netns()), &["--listen", "0.0.0.0:0"]);
        if let Some(first) = nodes.first() {
            let port = Node::port(first);
            node.types(&format!("C {} {port}", hosts[0].address()));
            node.sees("Connected to ann");
        }
        nodes.push(node);
    }
    let [ann, bob, cid, dee, eve] = &mut nodes[..] else { unreachable!("there are five") };
    wait_until(LIMIT, "all to know all", || are_one(&names, &[ann, bob, cid, dee, eve]));
    // The supernode dies, and those who are left do not see each other.
    let sites = hosts.each_ref().map(natlab::Host::site);
    lab.partition(&sites[..3], &sites[3..]);
    ann.signal(Signal::KILL);
    wait_until(LIMIT, "bob to take over on one side", || are_one(&["bob", "cid"], &[bob, cid]));
    wait_until(LIMIT, "dee to take over on the other", || are_one(&["dee", "eve"], &[dee, eve]));
    eve.types("T only dee hears this");
    dee.sees("eve: only dee hears this");
    lab.heal();
    let took =
        wait_until(HEALED, "all to be one network", || are_one(&["bob", "cid", "dee", "eve"], &[bob, cid, dee, eve]));
    println!("one network {took:?} after the cut was healed");
    eve.types("T all hear this");
    for node in [bob, cid, dee, eve] {
        node.sees("eve: all hear this");
    }
}

#[test]
fn downloads_that_still_have_a_holder_end_well_whoever_is_killed() {
    crate::small("nodes");
}

#[test]
fn the_same_goes_for_nodes_behind_routers() {
    if privilege::met("the_same_goes_for_nodes_behind_routers", natlab::possible()) {
        crate::small("nodes-at-home");
    }
}

#[test]
fn twenty_nodes_share_with_each_other_and_leave_one_by_one() {
    let findings = crate::small("twenty");
    for figure in findings.figures {
        println!("{}: {:?} {}", figure.name, figure.values, figure.unit);
    }
}
