//! Commands about accounts: signing up, logging in and out, passwords, devices.

use common::id::PeerId;
use common::secret::Secret;
use common::wire::tracker::{Access, Device, Reply, Request};

use super::parts::{Parts, off_reactor};
use super::{Failure, FailureKind, Login, Outcome, failure};
use crate::notice::Notice;

/// Which tracker it is.
pub(super) async fn tracker(parts: &Parts) -> Result<Outcome, Failure> {
    let fingerprint = parts.tracker.met().await?;
    Ok(Outcome::Tracker {
        address: parts.place.to_string(),
        fingerprint,
        confirmed: parts.tracker.is_confirmed(),
        // Whoever is not let in without a login may as well believe that there are accounts only.
        access: parts.tracker.welcome().map_or(Access::Accounts, |welcome| welcome.access),
    })
}

/// Makes an account, and logs in to it.
pub(super) async fn sign_up(parts: &Parts, login: Login, code: Option<Secret>) -> Result<Outcome, Failure> {
    confirm(parts, &login).await?;
    let Login { name, password, .. } = login;
    let name = failure::user_name(&name)?.to_string();
    logged_in(parts, Request::SignUp { name, password, code }).await
}

/// Logs in to an account.
pub(super) async fn log_in(parts: &Parts, login: Login) -> Result<Outcome, Failure> {
    confirm(parts, &login).await?;
    let Login { name, password, .. } = login;
    let name = failure::user_name(&name)?.to_string();
    logged_in(parts, Request::LogIn { name, password }).await
}

async fn logged_in(parts: &Parts, request: Request) -> Result<Outcome, Failure> {
    match parts.tracker.authenticate(request).await? {
        Reply::LoggedIn { name } => Ok(Outcome::LoggedIn { name }),
        _ => Err(failure::odd_answer()),
    }
}

/// No password goes to a tracker of which the user has not said, now or before, that it is the right one.
async fn confirm(parts: &Parts, login: &Login) -> Result<(), Failure> {
    let network = parts.tracker.met().await?;
    match login.confirmed {
        _ if parts.tracker.is_confirmed() => return Ok(()),
        Some(confirmed) if confirmed == network => {}
        Some(confirmed) => {
            let text = format!("the tracker has the fingerprint {network}, and not {confirmed} as confirmed");
            return Err(Failure::new(FailureKind::Failed, text).with_hint("no password was sent; look again"));
        }
        None => {
            let text = "nobody has confirmed yet that this tracker is the right one";
            return Err(Failure::new(FailureKind::Failed, text).with_hint(format!(
                "confirm its fingerprint {network}, or pin it with --tracker HOST:PORT#FINGERPRINT"
            )));
        }
    }
    let client = parts.tracker.clone();
    if let Err(text) = off_reactor(move || client.confirm(network)).await {
        parts.tell(Notice::Warning { text });
    }
    Ok(())
}

/// Logs out of the account.
pub(super) async fn log_out(parts: &Parts) -> Result<Outcome, Failure> {
    match parts.tracker.log_out().await? {
        Reply::Done => Ok(Outcome::LoggedOut { name: parts.tracker.welcome().map(|welcome| welcome.name) }),
        _ => Err(failure::odd_answer()),
    }
}

/// Changes the password of the account.
pub(super) async fn change_password(parts: &Parts, old: Secret, new: Secret) -> Result<Outcome, Failure> {
    match parts.tracker.request(Request::ChangePassword { old, new }).await? {
        Reply::Done => Ok(Outcome::PasswordChanged),
        _ => Err(failure::odd_answer()),
    }
}

/// Who this peer is on the tracker.
pub(super) async fn who_am_i(parts: &Parts) -> Result<Outcome, Failure> {
    let welcome = match parts.tracker.connected().await.map_err(Failure::from) {
        Ok(()) => parts.tracker.welcome(),
        Err(failure) if failure.kind == FailureKind::LoginRequired => None,
        Err(failure) => return Err(failure),
    };
    Ok(Outcome::WhoAmI {
        account: welcome.as_ref().is_some_and(|welcome| welcome.account),
        name: welcome.map(|welcome| welcome.name),
        peer: parts.peer,
        tracker: parts.place.to_string(),
    })
}

/// The devices of the account.
pub(super) async fn devices(parts: &Parts) -> Result<Outcome, Failure> {
    Ok(Outcome::Devices { devices: asked_devices(parts).await?, this: parts.peer })
}

async fn asked_devices(parts: &Parts) -> Result<Vec<Device>, Failure> {
    match parts.tracker.request(Request::Devices).await? {
        Reply::Devices { devices } => Ok(devices),
        _ => Err(failure::odd_answer()),
    }
}

/// Throws the device out whose id begins like this.
pub(super) async fn revoke(parts: &Parts, device: &str) -> Result<Outcome, Failure> {
    let devices = asked_devices(parts).await?;
    let device = chosen(&devices, device)?;
    match parts.tracker.request(Request::Revoke { device }).await? {
        Reply::Done => Ok(Outcome::Revoked { device }),
        _ => Err(failure::odd_answer()),
    }
}

/// The one device whose id begins like this.
fn chosen(devices: &[Device], beginning: &str) -> Result<PeerId, Failure> {
    let beginning = beginning.to_lowercase();
    let mut fitting = devices.iter().filter(|device| device.peer.to_string().starts_with(&beginning));
    match (fitting.next(), fitting.next()) {
        _ if beginning.is_empty() => Err(Failure::new(FailureKind::Usage, "the device's id is missing")),
        (Some(only), None) => Ok(only.peer),
        (Some(_), Some(_)) => Err(Failure::new(FailureKind::Failed, "the ids of several devices begin like this")
            .with_hint("give more of it: `devices` lists them")),
        (None, _) => {
            Err(Failure::new(FailureKind::Failed, "no device of your account has an id that begins like this")
                .with_hint("`devices` lists them"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_by_the_beginning_of_its_id() {
        let device = |number: u8| Device {
            peer: PeerId([number; 32]),
            name: String::new(),
            since_ms: 0,
            seen_ms: 0,
            online: false,
        };
        let devices = [device(0x00), device(0x01), device(0xff)];
        let id = |number: u8| PeerId([number; 32]).to_string();
        assert_eq!(chosen(&devices, &id(0)[..4]).unwrap(), PeerId([0; 32]));
        assert_eq!(chosen(&devices, &id(0xff)[..1].to_uppercase()).unwrap(), PeerId([0xff; 32]));
        for (beginning, part) in [("a", "several"), ("zzz", "no device"), ("", "missing")] {
            let failure = chosen(&devices, beginning).unwrap_err();
            assert!(failure.text.contains(part), "{beginning}: {failure}");
        }
    }
}
