//! Accounts of whole peers, on a real tracker.

use super::*;
use crate::command::Login;
use common::id::NetworkId;
use common::secret::Secret;

fn login(name: &str, confirmed: Option<NetworkId>) -> Login {
    Login { name: name.to_owned(), password: Secret::new("correct horse".to_owned()).unwrap(), confirmed }
}

async fn fingerprint(app: &App) -> (NetworkId, bool) {
    match run_it(app, Command::Tracker).await {
        Ok(Outcome::Tracker { fingerprint, confirmed, .. }) => (fingerprint, confirmed),
        other => panic!("{other:?}"),
    }
}

async fn name_and_account(app: &App) -> (Option<String>, bool) {
    match run_it(app, Command::WhoAmI).await {
        Ok(Outcome::WhoAmI { name, account, .. }) => (name, account),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_password_goes_to_a_tracker_that_was_never_confirmed() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let (network, confirmed) = fingerprint(&ann).await;
    assert!(!confirmed);
    for wrong in [None, Some(NetworkId([1; 32]))] {
        let command = Command::SignUp { login: login("ann", wrong), code: None };
        let failure = run_it(&ann, command).await.unwrap_err();
        assert!(failure.text.contains("confirmed"), "{failure}");
    }
    assert_eq!(name_and_account(&ann).await, (Some("ann".to_owned()), false));
    let command = Command::SignUp { login: login("ann", Some(network)), code: None };
    assert_eq!(run_it(&ann, command).await, Ok(Outcome::LoggedIn { name: "ann".to_owned() }));
    assert_eq!(fingerprint(&ann).await, (network, true));
    // From now on it need not be said again.
    assert!(run_it(&ann, Command::LogIn { login: login("ann", None) }).await.is_ok());
    ann.shutdown().await;
}

#[tokio::test]
async fn a_second_device_is_of_the_account_until_it_is_thrown_out() {
    let net = Net::start().await;
    let (desk, laptop) = (net.peer("ann").await, net.peer("guest").await);
    let (network, _) = fingerprint(&desk).await;
    let confirmed = Some(network);
    run_it(&desk, Command::SignUp { login: login("ann", confirmed), code: None }).await.unwrap();
    run_it(&laptop, Command::LogIn { login: login("ann", confirmed) }).await.unwrap();
    assert_eq!(name_and_account(&laptop).await, (Some("ann".to_owned()), true));
    let Ok(Outcome::Devices { devices, this }) = run_it(&desk, Command::Devices).await else { panic!() };
    let other = devices.iter().map(|device| device.peer).find(|peer| *peer != this).unwrap();
    assert_eq!(devices.len(), 2);
    run_it(&desk, Command::Revoke { device: other.to_string() }).await.unwrap();
    let mut state = laptop.inner.parts.tracker.state();
    let renamed = state.wait_for(|state| matches!(state, TrackerState::Connected(welcome) if welcome.name != "ann"));
    timeout(DEADLINE, renamed).await.unwrap().unwrap();
    assert!(!name_and_account(&laptop).await.1);
    for app in [desk, laptop] {
        app.shutdown().await;
    }
}
