//! The story of README's part "Without a tracker", typed at three terminals: on one machine, and across two routers.

use harness::content::Content;
use harness::natlab::{self, Home, Lab, Nat};
use harness::node::Node;
use harness::privilege;
use harness::scenario::MIB;
use tempfile::TempDir;

const PICTURE: &str = "shoal.png";

/// What ann shares, and where it lies.
fn picture(root: &TempDir) -> (Content, String) {
    let content = Content::random(9, 3 * MIB);
    let path = root.path().join(PICTURE);
    content.write(&path).unwrap();
    (content, path.display().to_string())
}

/// Once all three are connected: talk, a file from ann to cat, and from cat to bob after ann has left.
fn the_rest(root: &TempDir, [ann, bob, cat]: [&mut Node; 3]) {
    let (content, path) = picture(root);
    bob.types("T hello");
    for node in [&mut *ann, &mut *bob, &mut *cat] {
        node.sees("bob: hello");
    }
    ann.types(&format!("B {path}"));
    ann.sees(&format!("Registration of {PICTURE} of size {} bytes successful.", 3 * MIB));
    cat.sees(&format!("ann shares {PICTURE}"));
    cat.types("G");
    cat.sees(&format!("(1) Name: {PICTURE}  Size: {} bytes  Owner: ann  Seeders: 1", 3 * MIB));
    cat.gets(PICTURE, content);
    // The supernode leaves in good order.
    ann.types("Q");
    assert_eq!(ann.ends(), Some(0), "{}", ann.screen());
    for node in [&mut *bob, &mut *cat] {
        node.sees("ann has left.");
    }
    cat.types("T still here?");
    for node in [&mut *bob, &mut *cat] {
        node.sees("cat: still here?");
    }
    bob.gets(PICTURE, content);
    for node in [cat, bob] {
        node.types("Q");
        assert_eq!(node.ends(), Some(0), "{}", node.screen());
    }
}

#[test]
fn three_on_one_machine() {
    let root = tempfile::tempdir().unwrap();
    let [mut ann, mut bob, mut cat] =
        ["ann", "bob", "cat"].map(|name| Node::start(root.path(), name, None, &["--network-key", "correct horse"]));
    bob.types(&format!("C {}", ann.port()));
    bob.sees(&format!("Connected to ann at 127.0.0.1:{}.", ann.port()));
    ann.types(&format!("A 127.0.0.1 {}", cat.port()));
    ann.sees(&format!("The way from 127.0.0.1:{} is being opened", cat.port()));
    cat.types(&format!("C 127.0.0.1 {}", bob.port()));
    cat.sees("Connected to ");
    cat.types("L");
    cat.sees("bob  direct, 127.0.0.1:");
    the_rest(&root, [&mut ann, &mut bob, &mut cat]);
}

#[test]
fn three_across_two_routers() {
    if !privilege::met("three_across_two_routers", natlab::possible()) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let public = lab.host();
    let homes = [Nat::PortRestricted, Nat::PortRestricted].map(|nat| lab.home(nat));
    let [left, right] = homes.each_ref().map(Home::host);
    let node = |name: &str, netns: String| {
        let args = ["--listen", "0.0.0.0:0", "--network-key", "correct horse"];
        Node::start(root.path(), name, Some(netns), &args)
    };
    let (mut ann, mut bob, mut cat) =
        (node("ann", left.netns()), node("bob", public.netns()), node("cat", right.netns()));
    // Nobody gets in to ann who was not invited. These routers keep ports.
    ann.types(&format!("A {} {}", public.address(), bob.port()));
    ann.sees("is being opened");
    let address = homes[0].public_address();
    bob.types(&format!("C {address} {}", ann.port()));
    bob.sees(&format!("Connected to ann at {address}:{}.", ann.port()));
    // Bob is a plain member, and leads on to ann through her router.
    cat.types(&format!("C {} {}", public.address(), bob.port()));
    cat.sees("Connected to ");
    ann.sees("cat is online.");
    the_rest(&root, [&mut ann, &mut bob, &mut cat]);
}
