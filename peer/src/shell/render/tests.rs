//! What people read, to the letter.

use common::audience::Audience;
use common::id::{FileId, FolderId, Hash, PeerId};
use common::wire::tracker::{FolderSize, Have, Holder, User};

use super::*;
use crate::backend::fake;
use crate::command::{Command, FailureKind};

fn plain(lines: &[Printed]) -> Vec<String> {
    lines
        .iter()
        .map(|line| {
            let stream = if matches!(line, Printed::Data(_)) { "out" } else { "err" };
            format!("{stream}: {}", line.plain())
        })
        .collect()
}

fn shown(result: &Outcome) -> Vec<String> {
    plain(&outcome(result, Format::Text, Detail::Brief))
}

fn holder(address: Option<&str>, have: Option<Have>) -> Holder {
    Holder {
        peer: PeerId([7; 32]),
        user: "bob".to_owned(),
        addresses: address.map(|address| address.parse().unwrap()).into_iter().collect(),
        have,
    }
}

#[test]
fn registering_says_what_earlier_systems_said() {
    let registered = |already| Outcome::Registered {
        entry: "ann/doug.png".to_owned(),
        name: "doug.png".to_owned(),
        file: FileId::new(107_330, Hash([1; 32])).unwrap().into(),
        folder: None,
        version: 1,
        audience: Audience::Public,
        path: "/x/doug.png".into(),
        already,
    };
    let line = "out: Registration of doug.png of size 107330 bytes successful.";
    assert_eq!(shown(&registered(false)), [line]);
    assert_eq!(shown(&registered(true)), [line, "err: It was registered before."]);
}

#[test]
fn lists_are_numbered_from_1() {
    let mut second = fake::entry("b", 0);
    second.owners.push("bob".to_owned());
    second.downloaders = 2;
    let entries = vec![fake::entry("doug.png", 107_330), second];
    assert_eq!(
        shown(&Outcome::Entries(entries)),
        [
            "out: (1) Name: doug.png  Size: 107330 bytes  Owner: ann  Seeders: 3",
            "out: (2) Name: b  Size: 0 bytes  Owners: ann, bob  Seeders: 3  Downloaders: 2",
        ]
    );
    assert_eq!(
        shown(&Outcome::Entries(Vec::new())),
        ["err: There is no such file here. `r PATH` shares one (`B PATH` in `peer mrt`)."]
    );
}

#[test]
fn locations_count_chunks_from_1() {
    let entry = fake::entry("doug.png", 107_330);
    let at = |address| Some(address);
    let holders = vec![
        holder(at("127.0.0.1:54374"), Some(Have::All)),
        holder(at("[::1]:5"), Some(Have::Map("d0".to_owned()))),
        holder(at("127.0.0.1:6"), Some(Have::Map("00".to_owned()))),
        holder(None, None),
    ];
    let peer = PeerId([7; 32]);
    assert_eq!(
        shown(&Outcome::Locations { entry: entry.clone(), holders }),
        [
            "out: There are 4 endpoints seeding this file.".to_owned(),
            "out: Peer 127.0.0.1:54374 currently has chunks [1-7].".to_owned(),
            "out: Peer [::1]:5 currently has chunks [1-2, 4].".to_owned(),
            "out: Peer 127.0.0.1:6 currently has no chunks yet.".to_owned(),
            format!("out: Peer {peer} currently has chunks that it tells itself when asked."),
        ]
    );
    let one = Outcome::Locations { entry, holders: vec![holder(at("127.0.0.1:1"), Some(Have::All))] };
    assert_eq!(shown(&one)[0], "out: There is 1 endpoint seeding this file.");
    let json = outcome(&one, Format::Json, Detail::Brief)[0].plain();
    assert!(json.contains("\"chunks\":[[0,6]]"), "{json}");
}

#[test]
fn scattered_chunks_do_not_fill_the_screen() {
    let entry = fake::entry("big", 16 << 20);
    let have = Have::Map("aa".repeat(128));
    let lines = shown(&Outcome::Locations { entry, holders: vec![holder(Some("127.0.0.1:1"), Some(have))] });
    assert!(lines[1].ends_with("45, 47, ...], 512 of 1024."), "{}", lines[1]);
}

#[test]
fn an_empty_file_is_had_whole() {
    let entry = fake::entry("empty", 0);
    let lines = shown(&Outcome::Locations { entry, holders: vec![holder(Some("127.0.0.1:1"), Some(Have::All))] });
    assert_eq!(lines[1], "out: Peer 127.0.0.1:1 currently has chunks [].");
}

#[test]
fn a_download_gives_its_path_as_data() {
    let download = fake::downloaded("doug.png");
    assert_eq!(
        shown(&Outcome::Downloaded(download.clone())),
        [
            "err: doug.png has completed downloading.",
            "err: 104.8 KiB in 1.5 s (69.9 KiB/s), from ann 61 %, bob 39 %.",
            "out: /dir/seeding/doug.png",
        ]
    );
    let already = crate::command::Downloaded { already: true, shares: Vec::new(), ..download };
    assert_eq!(shown(&Outcome::Downloaded(already)), ["err: doug.png is here already.", "out: /dir/seeding/doug.png"]);
}

#[test]
fn the_rest_has_its_lines_too() {
    let pong = Outcome::Pong { peer: PeerId([7; 32]), address: "[::1]:5".parse().unwrap(), round_trip_us: 1250 };
    assert_eq!(shown(&pong), ["out: [::1]:5 answered after 1.250 ms."]);
    let hashed =
        Outcome::Hashed { path: "/x".into(), file: FileId::new(3, Hash([1; 32])).unwrap(), sha256: Hash([2; 32]) };
    assert_eq!(
        shown(&hashed),
        [
            "out: /x".to_owned(),
            format!("out:   file id  3-{}", "01".repeat(32)),
            format!("out:   sha256   {}", "02".repeat(32)),
        ]
    );
    let folder = FolderId::new(FileId::new(3, Hash([1; 32])).unwrap(), 7).unwrap().into();
    let hashed = Outcome::HashedFolder { path: "/x".into(), folder, size: FolderSize { files: 2, bytes: 9 } };
    assert_eq!(
        shown(&hashed),
        [
            "out: /x".to_owned(),
            format!("out:   folder id  3-{}-7", "01".repeat(32)),
            "out:   files      2, of 9 bytes together".to_owned(),
        ]
    );
    let users = [("ann", None), ("eve", Some(false))].map(|(name, reachable)| User {
        name: name.to_owned(),
        peer: PeerId([7; 32]),
        since_ms: u64::MAX,
        files: 1,
        reachable,
    });
    assert_eq!(
        shown(&Outcome::Users(users.to_vec())),
        [
            "out: (1) ann  1 file  online for 0 s  not dialled yet",
            "out: (2) eve  1 file  online for 0 s  cannot be dialled",
        ]
    );
    let cancelled = Outcome::Cancelled { names: vec!["a".to_owned(), "b".to_owned()] };
    assert_eq!(shown(&cancelled), ["out: Cancelled a, b; what has come is kept, and `d` goes on with it."]);
    assert_eq!(shown(&Outcome::Cancelled { names: Vec::new() }), ["err: No download is under way."]);
    let status = shown(&Outcome::Status(Box::new(fake::status())));
    assert_eq!(status[0], "out: Name:       ann");
    assert!(status.last().unwrap().starts_with("out:   big.bin   45 %  48.0 of 104.8 KiB  3/7 chunks"), "{status:?}");
}

#[test]
fn failures_list_candidates_and_a_hint() {
    let mut ambiguous = Failure::new(FailureKind::Failed, "several owners have different files called doug.png");
    ambiguous.candidates = vec![fake::entry("doug.png", 107_330)];
    let ambiguous = ambiguous.with_hint("say which: `d ann/doug.png`");
    assert_eq!(
        plain(&failure(&ambiguous, Format::Text)),
        [
            "err: error: several owners have different files called doug.png",
            "err:   ann/doug.png  107330 bytes  abababab",
            "err: hint: say which: `d ann/doug.png`",
        ]
    );
    let json = failure(&ambiguous, Format::Json);
    let Some(Printed::Data(json)) = json.last() else { panic!("{json:?}") };
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(value["failure"]["kind"], "failed");
    assert_eq!(value["failure"]["candidates"][0]["name"], "doug.png");
}

#[test]
fn a_hint_that_the_sentence_has_already_is_not_said_again() {
    let twice = Failure::new(FailureKind::Failed, "there is no entry x: `lst` shows what there is");
    let twice = twice.with_hint("\"lst\" shows what there is");
    assert_eq!(plain(&failure(&twice, Format::Text)), ["err: error: there is no entry x: `lst` shows what there is"]);
}

#[test]
fn nothing_from_the_network_controls_the_terminal() {
    let evil = "\x1b[2J\u{202e}\n";
    let mut entry = fake::entry(evil, 1);
    entry.owners = vec![evil.to_owned()];
    let mut text = plain(&outcome(&Outcome::Entries(vec![entry]), Format::Text, Detail::Full));
    text.extend(plain(&failure(&Failure::new(FailureKind::Failed, evil).with_hint(evil), Format::Json)));
    text.extend(plain(&notice(&Notice::Waiting { name: evil.to_owned(), chunks: 1 }, Detail::Brief)));
    for line in text {
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
    }
}

#[test]
fn what_others_say_does_nothing_to_a_terminal() {
    let said = "hi\x1b]0;owned\x07\u{9b}2J\u{202e}\rann: yes";
    let chat = Notice::Chat { from: "eve".to_owned(), text: said.to_owned(), at_ms: 0 };
    let message = Notice::Message { from: "eve".to_owned(), text: said.to_owned(), at_ms: 0 };
    let line = common::wire::tracker::HistoryLine { from: "eve".to_owned(), text: said.to_owned(), at_ms: 0 };
    let mut lines = notice(&chat, Detail::Brief);
    lines.extend(notice(&message, Detail::Brief));
    lines.extend(outcome(&Outcome::History(vec![line]), Format::Text, Detail::Brief));
    assert_eq!(lines.len(), 3);
    for line in lines {
        let line = line.plain();
        assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(line.starts_with("eve") && line.contains("hi\\u{1b}"), "{line}");
    }
}

#[test]
fn no_secret_is_printed() {
    let secret = |text: &str| common::secret::Secret::new(text.to_owned()).unwrap();
    let login = crate::command::Login { name: "ann".to_owned(), password: secret("hunter2"), confirmed: None };
    for command in [
        Command::SignUp { login: login.clone(), code: Some(secret("c0de")) },
        Command::LogIn { login },
        Command::ChangePassword { old: secret("hunter2"), new: secret("hunter3") },
    ] {
        let shown = format!("{command:?}");
        assert!(!shown.contains("hunter") && !shown.contains("c0de"), "{shown}");
    }
}

#[test]
fn details_are_told_only_where_they_are_wanted() {
    let from = "127.0.0.1:42490".parse().unwrap();
    let chunk = Notice::ChunkReceived { name: "doug.png".to_owned(), chunk: 2, from };
    assert_eq!(notice(&chunk, Detail::Brief), []);
    assert_eq!(notice(&chunk, Detail::Chunks)[0].plain(), "Received chunk 3 from 127.0.0.1:42490");
    let joined = Notice::Joined { name: "ann".to_owned() };
    assert_eq!(notice(&joined, Detail::Chunks), []);
    assert_eq!(notice(&joined, Detail::Full).len(), 1);
}

#[test]
fn json_is_the_outcome_as_the_api_has_it() {
    let result = Outcome::Downloaded(fake::downloaded("doug.png"));
    let lines = outcome(&result, Format::Json, Detail::Brief);
    assert_eq!(lines.len(), 1);
    assert_eq!(serde_json::from_str::<Outcome>(&lines[0].plain()).unwrap(), result);
    assert_eq!(outcome(&Outcome::Stopping, Format::Json, Detail::Brief)[0].plain(), "\"stopping\"");
    // Commands travel as the same JSON.
    assert_eq!(serde_json::to_string(&Command::Users).unwrap(), "\"users\"");
}
