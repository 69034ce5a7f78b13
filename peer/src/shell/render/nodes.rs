//! Nodes: how each is reached.

use common::nat::NatKind;

use super::Printed;
use super::lists::table;
use super::progress::bytes;
use super::text::{data, talk};
use crate::command::{Neighbour, Neighbourhood, Outcome, OwnNode, Way};

/// What came of a command about other nodes.
pub(super) fn nodes(outcome: &Outcome) -> Vec<Printed> {
    match outcome {
        Outcome::Connected { address, peer, name } => {
            let who = name.clone().unwrap_or_else(|| peer.to_string());
            vec![data(format!("Connected to {who} at {address}."))]
        }
        Outcome::Invited { address } => {
            vec![data(format!("The way from {address} is being opened, for a minute: it can connect now."))]
        }
        Outcome::Neighbours(Neighbourhood { here, others }) => {
            let rows: Vec<[String; 6]> = std::iter::once(own_row(here)).chain(others.iter().map(row)).collect();
            let mut lines = table(&rows);
            if others.is_empty() {
                lines.push(talk("Nobody else is here: `C ADDR PORT` connects."));
            }
            lines
        }
        _ => Vec::new(),
    }
}

/// Name, way, round trip, rate, NAT, part in the network.
fn own_row(node: &OwnNode) -> [String; 6] {
    let OwnNode { name, supernode, listen, seen_at, nat, .. } = node;
    let how = match seen_at {
        Some(address) => format!("you, seen at {address}"),
        None => format!("you, at {listen}"),
    };
    [name.clone(), how, String::new(), String::new(), kind(*nat), part(*supernode)]
}

fn row(node: &Neighbour) -> [String; 6] {
    let Neighbour { name, supernode, way, nat, .. } = node;
    let (name, nat, part) = (name.clone(), kind(*nat), part(*supernode));
    let Some(Way { address, round_trip_us, bytes_per_sec }) = way else {
        return [name, "not connected".to_owned(), String::new(), String::new(), nat, part];
    };
    let how = address.map_or_else(|| "relayed".to_owned(), |address| format!("direct, {address}"));
    let (whole, tenth) = (round_trip_us / 1000, round_trip_us % 1000 / 100);
    let rate = bytes_per_sec.map_or_else(String::new, |rate| format!("{}/s", bytes(rate)));
    [name, how, format!("{whole}.{tenth} ms"), rate, nat, part]
}

fn kind(nat: NatKind) -> String {
    let text = match nat {
        NatKind::None => "no NAT",
        NatKind::EndpointIndependent => "easy NAT",
        NatKind::EndpointDependent => "hard NAT",
        NatKind::Unknown => "",
    };
    text.to_owned()
}

fn part(supernode: bool) -> String {
    if supernode { "supernode".to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::render::Printed;
    use common::id::PeerId;

    #[test]
    fn this_node_comes_first_and_columns_stand_below_each_other() {
        let here = OwnNode {
            name: "ann".to_owned(),
            peer: PeerId([1; 32]),
            supernode: false,
            listen: "[::]:4000".parse().unwrap(),
            seen_at: "203.0.113.7:41000".parse().ok(),
            nat: NatKind::EndpointIndependent,
        };
        let other = |name: &str, address: Option<&str>, nat, supernode| Neighbour {
            name: name.to_owned(),
            peer: PeerId([2; 32]),
            supernode,
            way: Some(Way {
                address: address.map(|address| address.parse().unwrap()),
                round_trip_us: 12_345,
                bytes_per_sec: Some(3 << 20),
            }),
            nat,
        };
        let mut bob = other("bob", None, NatKind::EndpointDependent, false);
        let cat = other("catherine", Some("198.51.100.9:5"), NatKind::None, true);
        let lines = |others: Vec<Neighbour>| -> Vec<String> {
            let neighbourhood = Neighbourhood { here: here.clone(), others };
            nodes(&Outcome::Neighbours(neighbourhood)).iter().map(Printed::plain).collect()
        };
        assert_eq!(
            lines(vec![bob.clone(), cat]),
            [
                "ann        you, seen at 203.0.113.7:41000                      easy NAT",
                "bob        relayed                         12.3 ms  3.0 MiB/s  hard NAT",
                "catherine  direct, 198.51.100.9:5          12.3 ms  3.0 MiB/s  no NAT    supernode",
            ]
        );
        bob.way = None;
        bob.nat = NatKind::Unknown;
        assert_eq!(lines(vec![bob])[1], "bob  not connected");
        assert_eq!(lines(Vec::new()).last().unwrap(), "Nobody else is here: `C ADDR PORT` connects.");
    }
}
