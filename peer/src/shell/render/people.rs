//! Accounts, users, talk and what is pushed.

use common::audience::OfferId;
use common::wire::tracker::{Access, Answer, Device, HistoryLine, Offer, OfferState, Receiver, Sent, User};

use super::lists::{size, table};
use super::progress::{counted, duration};
use super::text::{data, talk};
use super::when::{ago, date};
use super::{Detail, Printed};
use crate::command::Outcome;

/// Characters of a device's id that tell it from the others of an account.
const ID_PREFIX: usize = 12;

/// What came of a command about an account.
pub(super) fn account(outcome: &Outcome, detail: Detail, now_ms: u64) -> Vec<Printed> {
    match outcome {
        Outcome::Tracker { address, fingerprint, confirmed, access } => {
            let confirmed = if *confirmed { "confirmed" } else { "not confirmed" };
            let access = match access {
                Access::Open => "open to everybody",
                Access::Accounts => "for those with an account",
                Access::Invite => "for those with an account, which takes an invite",
            };
            vec![data(format!("{address}  {access}")), data(format!("Fingerprint: {fingerprint} ({confirmed})"))]
        }
        Outcome::LoggedIn { name } => vec![data(format!("You are logged in as {name}."))],
        Outcome::LoggedOut { name: Some(name) } => {
            vec![data(format!("You are logged out, and are called {name} now."))]
        }
        Outcome::LoggedOut { name: None } => {
            vec![data("You are logged out."), talk("This tracker is for those with an account: `login NAME`.")]
        }
        Outcome::PasswordChanged => vec![data("The password is changed.")],
        Outcome::WhoAmI { name, account, peer, tracker } => {
            let tracker = tracker.split_once('#').map_or(tracker.as_str(), |(place, _fingerprint)| place);
            let who = match (name, account) {
                (Some(name), true) => format!("{name}, with an account, on {tracker}"),
                (Some(name), false) => format!("{name}, without an account, on {tracker}"),
                (None, _) => format!("Nobody yet on {tracker}: `login NAME`, or `signup NAME` for a new account"),
            };
            vec![data(who), data(format!("Device: {peer}"))]
        }
        Outcome::Devices { devices: list, this } => {
            let rows: Vec<[String; 5]> =
                list.iter().map(|one| device(one, one.peer == *this, detail, now_ms)).collect();
            table(&rows)
        }
        Outcome::Revoked { device } => {
            let mut id = device.to_string();
            id.truncate(ID_PREFIX);
            vec![data(format!("Device {id} is thrown out."))]
        }
        _ => Vec::new(),
    }
}

fn device(device: &Device, is_this: bool, detail: Detail, now_ms: u64) -> [String; 5] {
    let mut id = device.peer.to_string();
    if detail < Detail::Full {
        id.truncate(ID_PREFIX);
    }
    let name = if device.name.is_empty() { "-" } else { &device.name };
    let seen = match device.online {
        true => "online".to_owned(),
        false => format!("seen {}", ago(device.seen_ms, now_ms)),
    };
    let this = if is_this { "this device" } else { "" };
    [id, name.to_owned(), seen, format!("since {}", date(device.since_ms)), this.to_owned()]
}

/// Who is online.
pub(super) fn users(list: &[User], now_ms: u64) -> Vec<Printed> {
    let width = list.iter().map(|user| user.name.len()).max().unwrap_or(0);
    let line = |(number, user): (usize, &User)| {
        let since = duration(now_ms.saturating_sub(user.since_ms) / 1000);
        let reachable = match user.reachable {
            Some(true) => "reachable",
            Some(false) => "cannot be dialled",
            None => "not dialled yet",
        };
        let files = counted(user.files, "file");
        data(format!("({}) {:width$}  {files}  online for {since}  {reachable}", number + 1, user.name))
    };
    list.iter().enumerate().map(line).collect()
}

/// What was said to all.
pub(super) fn history(lines: &[HistoryLine], now_ms: u64) -> Vec<Printed> {
    if lines.is_empty() {
        return vec![talk("Nothing was said yet. `chat TEXT` says something to all.")];
    }
    lines.iter().map(|line| data(format!("{} ({}): {}", line.from, ago(line.at_ms, now_ms), line.text))).collect()
}

/// What came of pushing something, or of an answer to that.
pub(super) fn offer(outcome: &Outcome) -> Vec<Printed> {
    match outcome {
        Outcome::Sent { offer: OfferId(number), name, bytes, to } => {
            let to = if to.is_empty() { "nobody, since nobody else is online".to_owned() } else { to.join(", ") };
            vec![
                data(format!("({number}) {name} of size {bytes} bytes is offered to {to}.")),
                talk("`sent` shows who has it; it is served from where it lies."),
            ]
        }
        Outcome::Answered { from, name, answer: Answer::Accept, .. } => {
            vec![data(format!("{name} of {from} is being downloaded."))]
        }
        Outcome::Answered { from, name, answer: Answer::Refuse, .. } => {
            vec![data(format!("{name} of {from} is refused."))]
        }
        _ => Vec::new(),
    }
}

/// Offers in both directions.
pub(super) fn offers(received: &[Offer], sent: &[Sent]) -> Vec<Printed> {
    if received.is_empty() && sent.is_empty() {
        return vec![talk("Nobody sends you anything, and you sent nothing. `send PATH USER` does.")];
    }
    let mut lines = Vec::new();
    if !received.is_empty() {
        lines.push(talk("Sent to you:"));
        lines.extend(received.iter().map(|offer| {
            let state = match offer.state {
                OfferState::Offered => {
                    let OfferId(number) = offer.id;
                    format!("`accept {number}` or `refuse {number}`")
                }
                state => stated(state),
            };
            data(format!("{}  from: {}  {state}", offered(offer), offer.from))
        }));
    }
    if !sent.is_empty() {
        lines.push(talk("Sent by you:"));
        lines.extend(sent.iter().map(|sent| data(format!("{}  to: {}", offered(&sent.offer), receivers(&sent.to)))));
    }
    lines
}

/// `(3) doug.png  1234 bytes`.
fn offered(offer: &Offer) -> String {
    let OfferId(number) = offer.id;
    let slash = if offer.content.folder().is_some() { "/" } else { "" };
    format!("({number}) {}{slash}  {}", offer.name, size(offer.folder, &offer.content))
}

/// `bob accepted 40 %, carol refused`.
fn receivers(all: &[Receiver]) -> String {
    all.iter().map(|one| format!("{} {}", one.user, stated(one.state))).collect::<Vec<_>>().join(", ")
}

fn stated(state: OfferState) -> String {
    match state {
        OfferState::Offered => "offered".to_owned(),
        OfferState::Accepted { percent: Some(percent) } => format!("accepted {percent} %"),
        OfferState::Accepted { percent: None } => "accepted, offline".to_owned(),
        OfferState::Done => "done".to_owned(),
        OfferState::Refused => "refused".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{FileId, FolderId, Hash, PeerId};
    use common::wire::tracker::FolderSize;

    const NOW_MS: u64 = 1_795_277_520_000;

    fn plain(lines: &[Printed]) -> Vec<String> {
        lines.iter().map(Printed::plain).collect()
    }

    fn shown(outcome: &Outcome) -> Vec<String> {
        plain(&account(outcome, Detail::Brief, NOW_MS))
    }

    fn offer_of(id: u64, state: OfferState) -> Offer {
        let content = FileId::new(1234, Hash([1; 32])).unwrap().into();
        let (from, name) = ("ann".to_owned(), "doug.png".to_owned());
        Offer { id: OfferId(id), from, name, content, folder: None, at_ms: NOW_MS, state }
    }

    #[test]
    fn who_has_what_was_sent_stands_in_one_line() {
        let receiver = |user: &str, state| Receiver { user: user.to_owned(), state };
        let to = vec![
            receiver("bob", OfferState::Accepted { percent: Some(40) }),
            receiver("carol", OfferState::Refused),
            receiver("dave", OfferState::Done),
            receiver("eve", OfferState::Accepted { percent: None }),
            receiver("fay", OfferState::Offered),
        ];
        let folder = FolderId::new(FileId::new(9, Hash([1; 32])).unwrap(), 2).unwrap();
        let size = Some(FolderSize { files: 2, bytes: 2048 });
        let received = [
            Offer { content: folder.into(), folder: size, ..offer_of(4, OfferState::Offered) },
            offer_of(5, OfferState::Done),
        ];
        let sent = [Sent { offer: offer_of(3, OfferState::Offered), to }];
        assert_eq!(
            plain(&offers(&received, &sent)),
            [
                "Sent to you:",
                "(4) doug.png/  2 files  2.0 KiB  from: ann  `accept 4` or `refuse 4`",
                "(5) doug.png  1234 bytes  from: ann  done",
                "Sent by you:",
                "(3) doug.png  1234 bytes  to: bob accepted 40 %, carol refused, dave done, eve accepted, offline, \
                 fay offered",
            ]
        );
        assert!(offers(&[], &[])[0].plain().contains("`send PATH USER`"));
    }

    #[test]
    fn devices_stand_below_each_other() {
        let device = |number: u8, name: &str, seen_ms, online| Device {
            peer: PeerId([number; 32]),
            name: name.to_owned(),
            since_ms: NOW_MS,
            seen_ms,
            online,
        };
        let devices = vec![device(0, "laptop", NOW_MS, true), device(0xff, "", NOW_MS - 3_600_000, false)];
        assert_eq!(
            shown(&Outcome::Devices { devices, this: PeerId([0; 32]) }),
            [
                "aaaaaaaaaaaa  laptop  online        since 2026-11-21 16:12  this device",
                "777777777777  -       seen 1 h ago  since 2026-11-21 16:12",
            ]
        );
    }

    #[test]
    fn who_one_is_is_a_sentence() {
        let who = |name: Option<&str>, account| Outcome::WhoAmI {
            name: name.map(str::to_owned),
            account,
            peer: PeerId([0; 32]),
            tracker: "lab:8000".to_owned(),
        };
        for (outcome, line) in [
            (who(Some("ann"), true), "ann, with an account, on lab:8000"),
            (who(Some("ann-2"), false), "ann-2, without an account, on lab:8000"),
            (who(None, false), "Nobody yet on lab:8000: `login NAME`, or `signup NAME` for a new account"),
        ] {
            assert_eq!(shown(&outcome)[0], line);
        }
        assert_eq!(shown(&Outcome::LoggedIn { name: "ann".to_owned() }), ["You are logged in as ann."]);
    }

    #[test]
    fn what_was_said_has_its_age() {
        let line = |text: &str, at_ms| HistoryLine { from: "ann".to_owned(), text: text.to_owned(), at_ms };
        let lines = [line("hello", NOW_MS - 65_000), line("there", NOW_MS)];
        assert_eq!(plain(&history(&lines, NOW_MS)), ["ann (1 min 5 s ago): hello", "ann (just now): there"]);
    }
}
