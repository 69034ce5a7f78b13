//! What the location maps take up, counted by this crate's allocator.

use common::audience::Audience;
use common::id::{FileId, Hash, PeerId};
use common::index::{Change, Index, SwarmKey};
use fuzz::measure;

/// Bytes in the index for each of `peers` complete holders of each of `files`.
fn bytes_per_holder(peers: u32, files: u32) -> usize {
    let digest = |number: u32, kind: u8| common::merkle::sha256(&[number.to_be_bytes().as_slice(), &[kind]].concat());
    let (index, measured) = measure(|| {
        let index = Index::new();
        for file in 0..files {
            let Hash(root) = digest(file, 0);
            let file = FileId::new(1 << 30, Hash(root)).expect("not over 8 TiB");
            let swarm = SwarmKey::new(&file.into(), &Audience::Public);
            for peer in 0..peers {
                index.announce(PeerId(digest(peer, 1).0), swarm, Change::All).expect("within the limits");
            }
        }
        index
    });
    assert_eq!(index.swarm_count(), files as usize);
    measured.left / (peers * files) as usize
}

#[test]
fn a_complete_holder_costs_about_150_bytes() {
    for (peers, files, most) in [(1000, 10, 150), (100, 1000, 150), (10, 10_000, 150), (3, 30_000, 200)] {
        let bytes = bytes_per_holder(peers, files);
        println!("{peers} holders of each of {files} files: {bytes} bytes a holder");
        assert!(bytes <= most, "{bytes} bytes with {peers} holders of each of {files} files");
    }
}

#[test]
fn peers_that_leave_give_back_what_they_took() {
    let index = Index::new();
    let swarm = |number: u32| {
        let file = FileId::new(1 << 30, common::merkle::sha256(&number.to_be_bytes())).unwrap();
        SwarmKey::new(&file.into(), &Audience::Public)
    };
    let round = || {
        for number in 0..1000 {
            index.announce(PeerId([7; 32]), swarm(number), Change::Add(&[1, 2])).unwrap();
        }
        index.remove_peer(&PeerId([7; 32]));
    };
    // The tables of the maps themselves stay as large as they were.
    round();
    let ((), measured) = measure(|| (0..10).for_each(|_| round()));
    assert!(measured.left < 1000, "{measured:?}");
}
