//! Running: from a command to its end.

use std::sync::Arc;
use std::time::Duration;

use common::wire::MAX_PAGE;
use common::wire::tracker::{Query, Reply, Request};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::parts::Parts;
use super::{
    Command, Failure, Outcome, SharedItem, Status, Update, account, catalogue, download, failure, follow, hash, nodes,
    offers, ping, register, sharing, talk, watch,
};
use crate::library::Item;
use crate::tracker_client::{TrackerState, is_sound};

/// Runs a command to its end, or until the peer ends.
pub(crate) async fn run(
    parts: &Arc<Parts>,
    command: Command,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    tokio::select! {
        biased;
        () = parts.ending.cancelled() => Err(failure::ending()),
        // Most commands need little, and downloads much: the future is as large as the largest.
        end = Box::pin(dispatch(parts, command, updates)) => end,
    }
}

async fn dispatch(parts: &Arc<Parts>, command: Command, updates: &mpsc::Sender<Update>) -> Result<Outcome, Failure> {
    match command {
        Command::Register { path, users } => register::register(parts, path, users, updates).await,
        Command::Deregister { entry } => catalogue::deregister(parts, &entry).await,
        Command::List(listing) => catalogue::list(parts, listing).await,
        Command::Search { text, listing } => catalogue::search(parts, &text, listing).await,
        Command::Versions { entry } => catalogue::versions(parts, &entry).await,
        Command::Share { entry, change } => sharing::share(parts, &entry, change).await,
        Command::Loc { entry } => catalogue::loc(parts, &entry).await,
        Command::Download { entry, only, follow, output, wait_secs } => {
            let wish = download::Wish { entry, only, follow, output, wait_secs };
            download::download(parts, wish, updates).await
        }
        Command::Cancel { entry } => download::cancel(parts, entry.as_deref()).await,
        Command::Users => catalogue::users(parts).await,
        Command::Ping { target } => ping::ping(parts, &target).await,
        Command::Subscribe { entry } => follow::subscribe(parts, &entry, updates).await,
        Command::Unsubscribe { entry } => follow::unsubscribe(parts, &entry).await,
        Command::Synced => follow::synced(parts).await,
        Command::Watch { path } => watch::watch(parts, path, updates).await,
        Command::Unwatch { path } => watch::unwatch(parts, &path).await,
        Command::Send { path, to } => offers::send(parts, path, to, updates).await,
        Command::Answer { offer, answer } => offers::answer(parts, offer.as_deref(), answer).await,
        Command::Offers => offers::offers(parts).await,
        Command::Status => Ok(Outcome::Status(Box::new(status(parts).await))),
        Command::Tracker => account::tracker(parts).await,
        Command::SignUp { login, code } => account::sign_up(parts, login, code).await,
        Command::LogIn { login } => account::log_in(parts, login).await,
        Command::LogOut => account::log_out(parts).await,
        Command::ChangePassword { old, new } => account::change_password(parts, old, new).await,
        Command::WhoAmI => account::who_am_i(parts).await,
        Command::Devices => account::devices(parts).await,
        Command::Revoke { device } => account::revoke(parts, &device).await,
        Command::Chat { text } => talk::chat(parts, &text).await,
        Command::Message { to, text } => talk::message(parts, &to, &text).await,
        Command::History => talk::history(parts).await,
        Command::Hash { path } => hash::hash(&parts.hashers, path, updates).await,
        Command::Connect { address } => nodes::connect(parts, address).await,
        Command::Invite { address } => nodes::invite(parts, address).await,
        Command::Neighbours => nodes::neighbours(parts).await,
        Command::Stop => {
            parts.stop.cancel();
            Ok(Outcome::Stopping)
        }
    }
}

async fn status(parts: &Parts) -> Status {
    let over_mrt = match &parts.rendezvous {
        Some(rendezvous) => rendezvous.lines().await,
        None => Vec::new(),
    };
    let network = parts.tracker.network();
    let items = network.map(|network| parts.library.items(network)).unwrap_or_default();
    let counters = parts.engine.counters();
    let running = parts.downloads.all();
    Status {
        name: parts.user_name(),
        peer: parts.peer,
        dir: parts.dir.root().to_owned(),
        listen: parts.listen,
        tracker: parts.place.to_string(),
        network,
        connected: matches!(*parts.tracker.state().borrow(), TrackerState::Connected(_)),
        sharing: items.into_iter().map(shared_item).collect(),
        downloads: running.iter().filter_map(|running| running.progress.borrow().clone()).collect(),
        uploaded_bytes: counters.uploaded,
        downloaded_bytes: counters.downloaded,
        over_mrt,
    }
}

fn shared_item(item: Item) -> SharedItem {
    let name = match item.entries.keys().next() {
        Some(entry) => entry.name.to_string(),
        None => item.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    SharedItem { name, file: item.content, path: item.path }
}

/// Asks for entries and users when somebody looks for names, but not all the time.
pub(crate) async fn refresh_names(parts: Arc<Parts>) {
    /// So old may names be.
    const PAUSE: Duration = Duration::from_secs(5);
    loop {
        parts.names.wanted.notified().await;
        // The first part will do; who is not on the network yet is asked the next time.
        let page = Query { limit: MAX_PAGE, ..Query::default() };
        if let Ok(Reply::Entries { mut entries, .. }) = parts.tracker.request(Request::List(page)).await {
            entries.retain(is_sound);
            parts.names.on_entries(&entries);
        }
        drop(catalogue::users(&parts).await);
        sleep(PAUSE).await;
    }
}
