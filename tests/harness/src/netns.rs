//! Network namespaces: hosts of their own on this machine, joined by a switch. Needs root and `ip`.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::privilege;
use crate::process::{run, run_with_input};
use crate::wait::wait_until;

/// Only a machine that does not work needs so long.
const DEADLINE: Duration = Duration::from_secs(10);
const PREFIX: &str = "shoal-";
/// Where `ip netns` keeps its namespaces.
const NETNS_DIR: &str = "/run/netns";

/// A switch in a namespace of its own, and the hosts plugged into it; all gone when dropped.
#[derive(Debug)]
pub struct Net {
    switch: Namespace,
    hosts: Vec<Host>,
}

/// A host: a network namespace with loopback and one wire to the switch.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    number: u8,
}

/// A network namespace; gone when dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

/// Whether namespaces can be made here.
pub fn possible() -> Result<(), String> {
    privilege::root("making network namespaces")?;
    run("ip", &["netns", "list"]).map(drop).map_err(|error| format!("`ip netns` is not to be had: {error}"))
}

impl Net {
    /// A switch with `hosts` hosts, at most 250.
    ///
    /// # Panics
    /// When the system refuses; ask [`possible`] first.
    pub fn new(hosts: u8) -> Self {
        let switch = Namespace::new();
        ip(&["-n", &switch.name, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch.name, "link", "set", "br0", "up"]);
        let hosts = (1..=hosts).map(|number| Host::new(&switch, number)).collect();
        Self { switch, hosts }
    }

    /// Host number `index`, from 0.
    pub fn host(&self, index: usize) -> &Host {
        &self.hosts[index]
    }

    /// Pulls a host's wire, or puts it back.
    pub fn set_wire(&self, index: usize, wire: Wire) {
        let state = match wire {
            Wire::Plugged => "up",
            Wire::Pulled => "down",
        };
        ip(&["-n", &self.switch.name, "link", "set", &self.host(index).port(), state]);
    }
}

/// Whether a host's wire carries anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// It does.
    Plugged,
    /// It does not.
    Pulled,
}

impl Host {
    fn new(switch: &Namespace, number: u8) -> Self {
        let host = Self { namespace: Namespace::new(), number };
        let (name, port) = (host.namespace.name.as_str(), host.port());
        ip(&["-n", name, "link", "set", "lo", "up"]);
        ip(&["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", &switch.name]);
        ip(&["-n", &switch.name, "link", "set", &port, "master", "br0", "up"]);
        ip(&["-n", name, "address", "add", &format!("{}/24", host.ipv4()), "dev", "eth0"]);
        // Without nodad the address could not be used for the first second.
        ip(&["-n", name, "address", "add", &format!("{}/64", host.ipv6()), "dev", "eth0", "nodad"]);
        ip(&["-n", name, "link", "set", "eth0", "up"]);
        host
    }

    /// Drops every connection that somebody else begins to this host, as a home router or a firewall does.
    ///
    /// # Panics
    /// When `nft` is missing or refuses.
    pub fn close_to_others(&self) {
        let rules = "add table inet wall; \
                     add chain inet wall input { type filter hook input priority 0; policy accept; }; \
                     add rule inet wall input iifname eth0 tcp flags & (syn | ack) == syn drop";
        let done = run("ip", &["netns", "exec", &self.namespace.name, "nft", rules]);
        done.unwrap_or_else(|error| panic!("{error}"));
    }

    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    /// The namespace's name, for `ip netns exec`.
    pub fn netns(&self) -> String {
        self.namespace.name.clone()
    }

    /// Its address on the switch.
    pub fn ipv4(&self) -> IpAddr {
        Ipv4Addr::new(10, 77, 0, self.number).into()
    }

    /// Its IPv6 address on the switch.
    pub fn ipv6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(self.number)).into()
    }
}

impl Namespace {
    /// A new one with nothing in it but a loopback that is down.
    ///
    /// # Panics
    /// When the system refuses.
    pub(crate) fn new() -> Self {
        static SWEEP: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        SWEEP.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        Self { name }
    }

    /// Runs lines of `ip` in it, each without that word; far faster than one by one.
    ///
    /// # Panics
    /// When one fails.
    pub(crate) fn configure(&self, lines: &str) {
        run_with_input("ip", &["-n", &self.name, "-batch", "-"], lines)
            .unwrap_or_else(|error| panic!("{error}\n{lines}"));
    }

    /// Waits until a device that was up before the other end of its wire carries packets. The kernel sees to that a moment
    /// later, and drops what is sent before.
    ///
    /// # Panics
    /// When it does not within seconds.
    pub(crate) fn wait_for_carrier(&self, device: &str) {
        wait_until(DEADLINE, "a network device to come up", || {
            let link = run("ip", &["-n", &self.name, "-brief", "link", "show", "dev", device]).unwrap_or_default();
            // `eth0@if7 UP` and more.
            link.split_whitespace().nth(1) == Some("UP")
        });
    }

    /// Loads rules of `nft` into it, all or none.
    ///
    /// # Panics
    /// When `nft` is missing or refuses.
    pub(crate) fn filter(&self, rules: &str) {
        let done = self.run(|| run_with_input("nft", &["-f", "-"], rules));
        done.unwrap_or_else(|error| panic!("{error}\n{rules}"));
    }

    /// Writes settings of the kernel, each named by its path below `/proc/sys/net`.
    ///
    /// # Panics
    /// When one cannot be written.
    pub(crate) fn set(&self, settings: &[(&str, &str)]) {
        self.run(|| {
            for (name, value) in settings {
                let written = fs::write(Path::new("/proc/sys/net").join(name), value);
                written.unwrap_or_else(|error| panic!("{name} can be set to {value}: {error}"));
            }
        });
    }

    /// The same where the kernel has this setting.
    pub(crate) fn try_set(&self, name: &str, value: &str) {
        if self.run(|| Path::new("/proc/sys/net").join(name).exists()) {
            self.set(&[(name, value)]);
        }
    }

    /// What `ip netns` calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread of its own in this namespace.
    ///
    /// # Panics
    /// When the system refuses, or `work` panics.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            let namespace = File::open(Path::new(NETNS_DIR).join(&self.name)).expect("the namespace is there");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter");
            work()
        };
        let ended = thread::scope(|scope| scope.spawn(inside).join());
        ended.unwrap_or_else(|reason| resume_unwind(reason))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing can be done here about a failure; the next run sweeps.
        drop(run("ip", &["netns", "delete", &self.name]));
    }
}

/// Runs `ip`.
///
/// # Panics
/// When it fails.
pub(crate) fn ip(args: &[&str]) {
    run("ip", args).unwrap_or_else(|error| panic!("{error}"));
}

/// Deletes what test processes that were killed have left, and ends what still runs in there: nobody else would.
fn sweep() {
    for entry in fs::read_dir(NETNS_DIR).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((pid, _)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            for orphan in run("ip", &["netns", "pids", &name]).unwrap_or_default().split_whitespace() {
                let orphan = orphan.parse().ok().and_then(Pid::from_raw);
                // It may have ended by itself meanwhile.
                let _ = orphan.map(|orphan| kill_process(orphan, Signal::KILL));
            }
            drop(run("ip", &["netns", "delete", &name]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_reach_each_other_while_their_wires_are_plugged() {
        if !privilege::met("hosts_reach_each_other_while_their_wires_are_plugged", possible()) {
            return;
        }
        let net = Net::new(2);
        // Who refuses a connection is there.
        let reach = |address: IpAddr| {
            let (from, dial) = (net.host(0).netns(), format!("echo > /dev/tcp/{address}/1"));
            let dialled = run("ip", &["netns", "exec", &from, "timeout", "1", "bash", "-c", &dial]);
            dialled.is_err_and(|error| error.to_string().contains("refused"))
        };
        assert!(reach(net.host(1).ipv4()) && reach(net.host(1).ipv6()));
        net.set_wire(1, Wire::Pulled);
        assert!(!reach(net.host(1).ipv4()));
        let name = net.host(1).netns();
        drop(net);
        assert!(!Path::new(NETNS_DIR).join(name).exists());
    }

    #[test]
    fn what_a_killed_test_left_is_swept_away() {
        if !privilege::met("what_a_killed_test_left_is_swept_away", possible()) {
            return;
        }
        let mut ended = process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let name = format!("{PREFIX}{}-0", ended.id());
        ip(&["netns", "add", &name]);
        let mut orphan = process::Command::new("ip").args(["netns", "exec", &name, "sleep", "1000"]).spawn().unwrap();
        // It is in there once it has become the other program.
        wait_until(DEADLINE, "the orphan to move in", || {
            run("ip", &["netns", "pids", &name]).is_ok_and(|pids| pids.trim() == orphan.id().to_string())
        });
        let ours = Namespace::new();
        sweep();
        assert!(!orphan.wait().unwrap().success());
        assert!(!Path::new(NETNS_DIR).join(name).exists());
        assert!(Path::new(NETNS_DIR).join(ours.name()).exists());
    }
}
