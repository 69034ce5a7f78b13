//! One of each message, with the fixed values of `WIRE.md`.

use super::*;

pub(super) fn file() -> Content {
    FileId::new(107_330, Hash([0xcd; 32])).unwrap().into()
}

pub(super) fn folder() -> Content {
    FolderId::new(FileId::new(9_000, Hash([0xef; 32])).unwrap(), 7).unwrap().into()
}

pub(super) fn folder_size() -> FolderSize {
    FolderSize { files: 3, bytes: 110_000 }
}

pub(super) fn peer() -> PeerId {
    PeerId([0xa7; 32])
}

pub(super) fn text(text: &str) -> String {
    text.to_owned()
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned()).unwrap()
}

pub(super) fn restricted() -> Audience {
    Audience::Entry("jane/doug.png".parse().unwrap())
}

pub(super) fn offered() -> Audience {
    Audience::Offer(OfferId(7))
}

const NOW_MS: u64 = 1_700_000_000_000;

pub(super) fn entry() -> Entry {
    Entry {
        owners: vec![text("jane")],
        name: text("doug.png"),
        version: 3,
        content: file(),
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 1,
        downloaders: 1,
        registered_ms: NOW_MS,
    }
}

pub(super) fn folder_entry() -> Entry {
    Entry {
        name: text("photos"),
        content: folder(),
        folder: Some(folder_size()),
        restricted: true,
        users: vec![text("bob"), text("carol")],
        ..entry()
    }
}

pub(super) fn holder(have: Option<Have>) -> Holder {
    let addresses = vec!["192.0.2.7:40001".parse().unwrap(), "[2001:db8::7]:40001".parse().unwrap()];
    Holder { peer: peer(), user: text("jane"), addresses, have }
}

pub(super) fn meeting(channel: Option<ChannelId>) -> Meeting {
    let addresses = vec!["203.0.113.9:51235".parse().unwrap(), "[2001:db8::7]:40001".parse().unwrap()];
    Meeting { peer: peer(), user: text("jane"), static_key: StaticKey([0x5a; 32]), addresses, channel }
}

pub(super) fn line() -> HistoryLine {
    HistoryLine { from: text("jane"), text: text("hello"), at_ms: NOW_MS }
}

pub(super) fn offer(state: OfferState) -> Offer {
    Offer {
        id: OfferId(7),
        from: text("jane"),
        name: text("doug.png"),
        content: file(),
        folder: None,
        at_ms: NOW_MS,
        state,
    }
}

pub(super) fn receiver(user: &str, state: OfferState) -> Receiver {
    Receiver { user: text(user), state }
}

pub(super) fn requests() -> Vec<Request> {
    [joining_requests(), catalogue_requests(), swarm_requests(), social_requests()].concat()
}

pub(super) fn joining_requests() -> Vec<Request> {
    vec![
        Request::Hello(Hello {
            name: text("jane"),
            name_is_default: true,
            port: 40001,
            interfaces: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            advertised: vec!["203.0.113.9:40001".parse().unwrap()],
            agent: text("shoal-peer/0.1.0"),
            device: text("laptop"),
        }),
        Request::Leave,
        Request::SignUp { name: text("jane"), password: secret("open sesame"), code: None },
        Request::SignUp { name: text("jane"), password: secret("open sesame"), code: Some(secret("k7qm")) },
        Request::LogIn { name: text("jane"), password: secret("open sesame") },
        Request::LogOut,
        Request::ChangePassword { old: secret("open sesame"), new: secret("open barley") },
        Request::Devices,
        Request::Revoke { device: peer() },
    ]
}

pub(super) fn catalogue_requests() -> Vec<Request> {
    vec![
        Request::Register { name: text("doug.png"), content: file(), folder: None, users: None },
        Request::Register {
            name: text("photos"),
            content: folder(),
            folder: Some(folder_size()),
            users: Some(vec![text("bob"), text("carol")]),
        },
        Request::Deregister { entry: text("doug.png") },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Add(vec![text("bob")]) },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Remove(vec![text("bob")]) },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Everyone },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Nobody },
        Request::List(Query { offset: 0, limit: 1000, mine: true, by: SortBy::Seeders }),
        Request::Search { text: text("*.png"), query: Query { offset: 1000, ..Query::default() } },
        Request::Versions { entry: text("doug.png") },
        Request::Loc { entry: text("jane/doug.png@2"), offset: 0 },
        Request::Plan { entry: text("doug.png"), content: None },
        Request::Plan { entry: text("jane/doug.png"), content: Some(file()) },
        Request::PlanOffer { offer: OfferId(7) },
    ]
}

pub(super) fn swarm_requests() -> Vec<Request> {
    vec![
        Request::Announce {
            swarms: vec![
                Announced { content: file(), audience: Audience::Public, have: Have::Add(vec![0, 6]) },
                Announced { content: file(), audience: restricted(), have: Have::Map(text("82")) },
                Announced { content: folder(), audience: offered(), have: Have::All },
                Announced { content: file(), audience: Audience::Public, have: Have::None },
            ],
        },
        Request::Completed { entry: text("jane/doug.png"), content: file(), audience: restricted() },
        Request::DialMe { peer: peer() },
        Request::Dialled { peer: peer(), reached: true },
        Request::Mrt(MrtContact {
            static_key: StaticKey([0x5a; 32]),
            port: 40001,
            seen: "203.0.113.9:51235".parse().unwrap(),
            proof: StunProof([0x3c; 16]),
            role: MrtRole::Serves,
        }),
        Request::Meet { peer: peer() },
        Request::Met { peer: peer(), reached: true },
        Request::Users,
        Request::Where { user: text("jane") },
    ]
}

pub(super) fn social_requests() -> Vec<Request> {
    vec![
        Request::Subscribe { entry: text("jane/doug.png") },
        Request::Unsubscribe { entry: text("jane/doug.png") },
        Request::Subscriptions,
        Request::Chat { text: text("hello") },
        Request::Message { to: text("bob"), text: text("hello") },
        Request::History,
        Request::Offer { name: text("doug.png"), content: file(), folder: None, to: Some(vec![text("bob")]) },
        Request::Offer { name: text("photos"), content: folder(), folder: Some(folder_size()), to: None },
        Request::Answer { offer: OfferId(7), answer: Answer::Accept },
        Request::Answer { offer: OfferId(7), answer: Answer::Refuse },
        Request::Offers,
    ]
}

pub(super) fn replies() -> Vec<Reply> {
    let version =
        |number, content| Version { number, content, folder: None, registered_ms: NOW_MS, seeders: 1, downloaders: 0 };
    let device = Device { peer: peer(), name: text("laptop"), since_ms: NOW_MS, seen_ms: NOW_MS, online: true };
    let user = User { name: text("jane"), peer: peer(), since_ms: NOW_MS, files: 1, reachable: Some(true) };
    let sent = vec![
        receiver("bob", OfferState::Accepted { percent: Some(40) }),
        receiver("carol", OfferState::Done),
        receiver("dave", OfferState::Refused),
    ];
    vec![
        Reply::Done,
        Reply::Welcome(Welcome {
            name: text("jane-2"),
            seen_as: "203.0.113.9:51234".parse().unwrap(),
            time_ms: NOW_MS,
            silence_ms: 30_000,
            peers: 2,
            account: true,
            access: Access::Invite,
            udp: Some(UdpOffer { token: StunToken([0xa5; 16]), relays: true }),
        }),
        Reply::LoggedIn { name: text("jane") },
        Reply::Devices { devices: vec![device] },
        Reply::Registered { entry: text("jane/doug.png"), version: 3, already: false, audience: Audience::Public },
        Reply::Shared { entry: text("jane/doug.png"), audience: restricted(), users: Some(vec![text("bob")]) },
        Reply::Shared { entry: text("jane/doug.png"), audience: Audience::Public, users: None },
        Reply::Entries { entries: vec![entry(), folder_entry()], total: 2 },
        Reply::Versions { entry: entry(), versions: vec![version(3, file()), version(2, folder())] },
        Reply::Locations {
            entry: entry(),
            holders: vec![holder(Some(Have::All)), holder(Some(Have::Map(text("82")))), holder(None)],
            next: Some(3),
        },
        Reply::Plan(Plan {
            entry: folder_entry(),
            audience: restricted(),
            ticket: text("73686f"),
            holders: vec![holder(Some(Have::All))],
        }),
        Reply::Meeting(meeting(Some(ChannelId(0x0102_0304_0506_0708)))),
        Reply::Users { users: vec![user] },
        Reply::Whereabouts { holders: vec![holder(None)] },
        Reply::Subscriptions {
            subscriptions: vec![
                Subscription { entry: text("jane/doug.png"), newest: Some(entry()) },
                Subscription { entry: text("jane/gone.png"), newest: None },
            ],
        },
        Reply::History { lines: vec![line()] },
        Reply::Offered { offer: OfferId(7), to: vec![text("bob"), text("carol"), text("dave")] },
        Reply::Offers {
            received: vec![offer(OfferState::Accepted { percent: None })],
            sent: vec![Sent { offer: offer(OfferState::Offered), to: sent }],
        },
    ]
}

pub(super) fn events() -> Vec<Event> {
    let revocations = vec![
        Revocation { holder: peer(), audience: Some(restricted()), before_ms: NOW_MS },
        Revocation { holder: peer(), audience: None, before_ms: NOW_MS },
    ];
    vec![
        Event::Holder { content: file(), audience: Audience::Public, holder: holder(Some(Have::All)) },
        Event::Holder { content: folder(), audience: offered(), holder: holder(None) },
        Event::Dial { peer: peer(), addresses: vec!["192.0.2.7:40001".parse().unwrap()] },
        Event::NotReached { peer: peer() },
        Event::Meet(meeting(None)),
        Event::Joined { name: text("jane"), peer: peer() },
        Event::Left { name: text("jane"), peer: peer() },
        Event::Updated { entry: entry() },
        Event::Gone { entry: text("jane/doug.png") },
        Event::Shared { entry: text("jane/doug.png"), audience: restricted() },
        Event::Revoked { revocations },
        Event::Chat(line()),
        Event::Message(line()),
        Event::Offered(offer(OfferState::Offered)),
        Event::Answered { offer: OfferId(7), name: text("doug.png"), receiver: receiver("bob", OfferState::Refused) },
        Event::Shutdown,
    ]
}

/// One of each and more, in the order of `WIRE.md`.
pub(super) fn from_peer() -> Vec<FromPeer> {
    let requests = requests().into_iter().zip(1..).map(|(op, id)| FromPeer::Request { id, op });
    requests.chain([FromPeer::Pong(7)]).collect()
}

pub(super) fn from_tracker() -> Vec<FromTracker> {
    let replies = replies().into_iter().zip(1..).map(|(result, id)| FromTracker::Reply { id, result });
    let refusals = [
        Refusal { code: Code::NotFound, text: text("there is no entry doug.png"), candidates: Vec::new() },
        Refusal { code: Code::Ambiguous, text: "say whose".to_owned(), candidates: vec![entry()] },
    ];
    let refusals = refusals.into_iter().zip(20..).map(|(error, id)| FromTracker::Refusal { id, error });
    let events = events().into_iter().map(FromTracker::Event);
    replies.chain(refusals).chain([FromTracker::Ping(7)]).chain(events).collect()
}
