//! Nodes: how each is reached.

use super::Printed;
use super::lists::table;
use super::progress::bytes;
use super::text::{data, talk};
use crate::command::{Neighbour, Outcome, Way};

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
        Outcome::Neighbours(nodes) if nodes.is_empty() => vec![talk("Nobody else is here: `C ADDR PORT` connects.")],
        Outcome::Neighbours(nodes) => {
            let rows: Vec<[String; 5]> = nodes.iter().map(row).collect();
            table(&rows)
        }
        _ => Vec::new(),
    }
}

fn row(node: &Neighbour) -> [String; 5] {
    let supernode = if node.supernode { "supernode" } else { "" };
    let Some(Way { address, round_trip_us, bytes_per_sec }) = &node.way else {
        return [node.name.clone(), "not connected".to_owned(), String::new(), String::new(), supernode.to_owned()];
    };
    let how = address.map_or_else(|| "relayed".to_owned(), |address| format!("direct, {address}"));
    let (whole, tenth) = (round_trip_us / 1000, round_trip_us % 1000 / 100);
    let rate = bytes_per_sec.map_or_else(String::new, |rate| format!("{}/s", bytes(rate)));
    [node.name.clone(), how, format!("{whole}.{tenth} ms"), rate, supernode.to_owned()]
}
