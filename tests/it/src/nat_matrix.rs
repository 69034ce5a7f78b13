//! Two nodes behind each pair of kinds of routers, one test a cell: they meet directly where the kinds allow it, and talk
//! through the supernode where not; a file goes through in every cell.

use std::time::Duration;

use harness::content::Content;
use harness::ground::{Ground, NAMES};
use harness::natlab::{self, Access, Nat};
use harness::privilege;
use harness::scenario::MIB;
use harness::slots::{Company, Slot};
use harness::wait::wait_until;

use crate::small;

/// Bytes of the file.
const SIZE: u64 = 50 * MIB;
/// Those who can meet have met by then, on a machine that has much else to do.
const MEETING: Duration = Duration::from_secs(10);

/// Tests, each named for who shares and who downloads.
macro_rules! cells {
    ($($name:ident: $sharer:ident to $downloader:ident;)*) => {
        $(
            #[test]
            fn $name() {
                cell(stringify!($name), [Nat::$sharer, Nat::$downloader]);
            }
        )*

        #[test]
        fn no_pair_of_kinds_is_left_out() {
            let cells = [$([Nat::$sharer, Nat::$downloader]),*];
            for sharer in Nat::ALL {
                for downloader in Nat::ALL {
                    assert!(cells.contains(&[sharer, downloader]), "{sharer:?} to {downloader:?}");
                }
            }
        }
    };
}

cells! {
    open_to_open: Open to Open;
    open_to_firewall: Open to Firewall;
    open_to_full_cone: Open to FullCone;
    open_to_port_restricted: Open to PortRestricted;
    open_to_symmetric: Open to Symmetric;
    open_to_double: Open to Double;
    firewall_to_open: Firewall to Open;
    firewall_to_firewall: Firewall to Firewall;
    firewall_to_full_cone: Firewall to FullCone;
    firewall_to_port_restricted: Firewall to PortRestricted;
    firewall_to_symmetric: Firewall to Symmetric;
    firewall_to_double: Firewall to Double;
    full_cone_to_open: FullCone to Open;
    full_cone_to_firewall: FullCone to Firewall;
    full_cone_to_full_cone: FullCone to FullCone;
    full_cone_to_port_restricted: FullCone to PortRestricted;
    full_cone_to_symmetric: FullCone to Symmetric;
    full_cone_to_double: FullCone to Double;
    port_restricted_to_open: PortRestricted to Open;
    port_restricted_to_firewall: PortRestricted to Firewall;
    port_restricted_to_full_cone: PortRestricted to FullCone;
    port_restricted_to_port_restricted: PortRestricted to PortRestricted;
    port_restricted_to_symmetric: PortRestricted to Symmetric;
    port_restricted_to_double: PortRestricted to Double;
    symmetric_to_open: Symmetric to Open;
    symmetric_to_firewall: Symmetric to Firewall;
    symmetric_to_full_cone: Symmetric to FullCone;
    symmetric_to_port_restricted: Symmetric to PortRestricted;
    symmetric_to_symmetric: Symmetric to Symmetric;
    symmetric_to_double: Symmetric to Double;
    double_to_open: Double to Open;
    double_to_firewall: Double to Firewall;
    double_to_full_cone: Double to FullCone;
    double_to_port_restricted: Double to PortRestricted;
    double_to_symmetric: Double to Symmetric;
    double_to_double: Double to Double;
}

/// Tests of two behind one router, who meet on its network.
macro_rules! neighbours {
    ($($name:ident: $nat:ident;)*) => {
        $(
            #[test]
            fn $name() {
                neighbours(stringify!($name), Nat::$nat);
            }
        )*
    };
}

neighbours! {
    neighbours_behind_full_cone: FullCone;
    neighbours_behind_port_restricted: PortRestricted;
    neighbours_behind_symmetric: Symmetric;
    neighbours_behind_double: Double;
}

fn cell(test: &str, kinds: [Nat; 2]) {
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let _slot = Slot::take(Company::Shared);
    let ground = Ground::apart(kinds, Access::Wire);
    let [one, other] = kinds;
    passes(&ground, one.meets(other).then(|| [0, 1].map(|place| format!("direct, {}:", ground.public_address(place)))));
}

fn neighbours(test: &str, nat: Nat) {
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let _slot = Slot::take(Company::Shared);
    let ground = Ground::together(nat);
    passes(&ground, Some([0, 1].map(|place| format!("direct, {}:", ground.private_address(place)))));
}

/// The first shares a file, the second downloads it; `ways` is how each is reached by the other, if not through the supernode.
#[track_caller]
fn passes(ground: &Ground, ways: Option<[String; 2]>) {
    let ann = ground.supernode();
    let [mut bob, mut eve] = [ground.node(0), ground.node(1)];
    for node in [&mut bob, &mut eve] {
        node.types(&ground.connect(&ann));
        node.sees("Connected to ann");
    }
    let (content, path) = (Content::random(1, SIZE), ground.root().join("film.mkv"));
    content.write(&path).unwrap();
    bob.types(&format!("B {}", path.display()));
    bob.sees("successful.");
    // The supernode hears of it a moment later than its user.
    eve.sees("bob shares film.mkv");
    eve.gets("film.mkv", content);
    let [to_bob, to_eve] = ways.unwrap_or_else(|| ["relayed"; 2].map(str::to_owned));
    for (node, name, way) in [(&mut eve, NAMES[0], to_bob), (&mut bob, NAMES[1], to_eve)] {
        let mut shown = String::new();
        let reached = || {
            shown = node.way_to(name);
            shown.starts_with(&way)
        };
        // The file took longer than three tries to meet where it was relayed: it stays so.
        wait_until(MEETING, &format!("{name} to be {way}"), reached);
    }
}

#[test]
fn two_meet_again_and_again() {
    if privilege::met("two_meet_again_and_again", natlab::possible()) {
        let _slot = Slot::take(Company::Shared);
        println!("{:?}", small("nat"));
    }
}
