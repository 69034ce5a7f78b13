//! What a supernode fetches for the others, and what is listed again after a restart.

use std::time::Duration;

use harness::content::Content;
use harness::node::Node;
use harness::scenario::MIB;
use harness::wait::wait_until;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_supernode_that_holds_serves_what_a_dead_member_shared() {
    let root = tempfile::tempdir().unwrap();
    let mut bob = Node::start(root.path(), "bob", None, &["--hold", "10MiB"]);
    let mut ann = Node::start(root.path(), "ann", None, &[]);
    ann.types(&format!("C {}", bob.port()));
    ann.sees("Connected to bob");
    let small = Content::random(1, 6 * MIB);
    for (name, content) in [("doug.png", small), ("film.mkv", Content::random(2, 7 * MIB))] {
        let path = root.path().join(name);
        content.write(&path).unwrap();
        ann.types(&format!("B {}", path.display()));
        ann.sees("successful.");
    }
    bob.sees("The limit of --hold, 10.0 MiB, is reached: film.mkv will not be fetched.");
    let held = bob.dir().join("seeding/doug.png");
    wait_until(SOON, "bob to have it", || held.is_file());
    ann.signal(Signal::KILL);
    bob.sees("ann has left.");
    let mut eve = Node::start(root.path(), "eve", None, &[]);
    eve.types(&format!("C {}", bob.port()));
    eve.sees("Connected to bob");
    eve.types("G");
    eve.sees("(1) Name: doug.png  Size: 6291456 bytes  Owner: bob");
    eve.gets("doug.png", small);
    assert_eq!(bob.screen().matches("The limit of --hold").count(), 1);
}

#[test]
fn what_a_node_shared_is_listed_again_after_its_restart() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("photos");
    std::fs::create_dir(&folder).unwrap();
    for (name, number) in [("one", 1), ("two", 2)] {
        Content::random(number, MIB).write(&folder.join(name)).unwrap();
    }
    let mut ann = Node::start(root.path(), "ann", None, &[]);
    ann.types(&format!("B {}", folder.display()));
    ann.sees("successful.");
    ann.signal(Signal::KILL);
    ann.ends();
    let mut ann = Node::start(root.path(), "ann", None, &[]);
    let mut bob = Node::start(root.path(), "bob", None, &[]);
    bob.types(&format!("C {}", ann.port()));
    bob.sees("Connected to ann");
    wait_until(SOON, "it to be listed", || !bob.list().is_empty());
    bob.types("G");
    bob.sees("(1) Name: photos/  2 files  2.0 MiB  Owner: ann");
    ann.types("Q");
    assert_eq!(ann.ends(), Some(0));
}
