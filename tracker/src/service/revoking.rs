//! Revoking: tickets that were given and are to be worth nothing. Seeders ask nobody, so all who are online are told, and
//! who joins within the time that such a ticket would have lasted.

use std::collections::BTreeSet;
use std::time::Duration;

use common::audience::Audience;
use common::id::PeerId;
use common::ticket::CLOCK_TOLERANCE_MS;
use common::wire::tracker::{Event, Revocation};

use super::locating::{TICKET_EARLIER, TICKET_LIFE};
use super::{Effect, Now};
use crate::state::{State, Write};

/// What was begun with a ticket goes on after its time. After so long without another ticket it is over: picked by hand.
const LONGEST_USE: Duration = Duration::from_secs(24 * 3600);
/// So many audiences are named for one holder; with more, all its tickets are revoked in place of them, and it asks for
/// those anew that it may still have. Picked by hand: more than one user is likely to lose in an hour.
const MAX_OF_HOLDER: usize = 256;
/// Revocations in one event; one takes at most some 750 bytes of JSON.
const MAX_IN_EVENT: usize = 1_000;

/// Remembers that a ticket is issued, where that is not for everybody.
pub(super) fn note_issued(state: &mut State, holder: PeerId, audience: &Audience, now: Now) {
    if !audience.is_public() {
        state.issued.add(holder, audience, LONGEST_USE, now.uptime);
    }
}

/// Takes all tickets from these holders that were issued until now: those for this audience, or all. Later ones count.
/// Who has none for this audience is not spoken of: otherwise anybody could take from others what they have, by naming
/// them for many entries and taking these back.
pub(super) fn revoke(
    state: &State,
    holders: impl IntoIterator<Item = PeerId>,
    audience: Option<&Audience>,
    now: Now,
) -> (Vec<Write>, Vec<Effect>) {
    let (writes, told) = revoked(state, holders, audience, now);
    (writes, tell(told))
}

/// The same of tickets for an audience that is not there any more: what is under way ends in good order, and nobody is
/// told before there is such an audience again ([`tell_of_former`]).
pub(super) fn revoke_later(
    state: &State,
    holders: impl IntoIterator<Item = PeerId>,
    audience: &Audience,
    now: Now,
) -> (Vec<Write>, Vec<Effect>) {
    let (writes, mut told) = revoked(state, holders, Some(audience), now);
    told.retain(|revocation| revocation.audience.is_none());
    (writes, tell(told))
}

/// There is an audience that may have been there before: tells of the tickets of that time that are worth nothing, but
/// not of those whose holders are among it again.
pub(super) fn tell_of_former(state: &State, audience: &Audience, is_in_it: impl Fn(&PeerId) -> bool) -> Vec<Effect> {
    let former = state.revocations().for_audience(audience);
    tell(former.filter(|known| !is_in_it(&known.holder)).collect())
}

fn revoked(
    state: &State,
    holders: impl IntoIterator<Item = PeerId>,
    audience: Option<&Audience>,
    now: Now,
) -> (Vec<Write>, Vec<Revocation>) {
    // A ticket that is issued now begins so much earlier; the next millisecond's begins after this.
    let before_ms = now.unix_ms.saturating_sub(millis(TICKET_EARLIER)).saturating_add(1);
    let (mut writes, mut told) = (Vec::new(), Vec::new());
    let mut holders: BTreeSet<PeerId> = holders.into_iter().collect();
    if let Some(audience) = audience.filter(|audience| !audience.is_public()) {
        holders.retain(|holder| state.issued.may_have(*holder, audience, LONGEST_USE, now.uptime));
    }
    for holder in holders {
        let known: Vec<Revocation> = state.revocations().of(holder).collect();
        let named_already = known.iter().any(|known| known.audience.as_ref() == audience);
        let audience = audience.filter(|_one| named_already || known.len() < MAX_OF_HOLDER).cloned();
        if audience.is_none() {
            // What was said of single audiences is in what is said of all.
            let single = known.into_iter().filter(|known| known.audience.is_some());
            writes.extend(single.map(|known| Write::Revocation(holder, known.audience, None)));
        }
        writes.push(Write::Revocation(holder, audience.clone(), Some(before_ms)));
        told.push(Revocation { holder, audience, before_ms });
    }
    (writes, told)
}

/// One event may have many revocations, and goes to many: it is made once.
fn tell(told: Vec<Revocation>) -> Vec<Effect> {
    events(told).into_iter().map(Effect::TellAll).collect()
}

/// What somebody who joins is to know.
pub(super) fn recent(state: &State, to: PeerId, now: Now) -> Vec<Effect> {
    let recent = state.revocations().iter().filter(|revocation| !is_past(revocation, now)).collect();
    events(recent).into_iter().map(|event| Effect::Tell { to, event }).collect()
}

/// Forgets the revocations of tickets that have all expired.
pub(super) fn forget(state: &State, now: Now) -> impl Iterator<Item = Write> {
    let past = state.revocations().iter().filter(move |revocation| is_past(revocation, now));
    past.map(|Revocation { holder, audience, .. }| Write::Revocation(holder, audience, None))
}

fn events(revocations: Vec<Revocation>) -> Vec<Event> {
    revocations.chunks(MAX_IN_EVENT).map(|part| Event::Revoked { revocations: part.to_vec() }).collect()
}

fn is_past(revocation: &Revocation, now: Now) -> bool {
    let lasted = millis(TICKET_EARLIER + TICKET_LIFE) + CLOCK_TOLERANCE_MS;
    revocation.before_ms.saturating_add(lasted) < now.unix_ms
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use common::audience::OfferId;
    use common::ticket::Ticket;
    use common::wire::tracker::{Plan, Reply, Request};
    use data_encoding::HEXLOWER;

    use super::super::testing::{World, file, hello};
    use super::*;

    fn ticket(world: &mut World, peer: PeerId) -> Ticket {
        let plan = Request::Plan { entry: "alice/x".to_owned(), content: None };
        let Reply::Plan(Plan { ticket, .. }) = world.reply(peer, plan) else { panic!("a plan") };
        let bytes = HEXLOWER.decode(ticket.as_bytes()).unwrap();
        Ticket::verify(&bytes, &world.state.identity.public_key()).unwrap()
    }

    /// What is said, and to whom; to everybody where that is nobody by name.
    fn told(effects: &[Effect]) -> Vec<(Option<PeerId>, Revocation)> {
        let told = effects.iter().filter_map(|effect| match effect {
            Effect::Tell { to, event: Event::Revoked { revocations } } => Some((Some(*to), revocations[0].clone())),
            Effect::TellAll(Event::Revoked { revocations }) => Some((None, revocations[0].clone())),
            _ => None,
        });
        told.collect()
    }

    #[test]
    fn tickets_until_now_are_revoked_and_later_ones_are_not() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.register(alice, "x", file(1));
        let before = ticket(&mut world, bob);
        let (writes, effects) = revoke(&world.state, [bob, bob], Some(&Audience::Public), world.now);
        world.apply(writes);
        let told = told(&effects);
        let [(None, first)] = told.as_slice() else { panic!("everybody is told, once: {told:?}") };
        assert_eq!((first.holder, &first.audience), (bob, &Some(Audience::Public)));
        assert!(before.not_before_ms < first.before_ms);
        world.pass(Duration::from_millis(1));
        assert!(ticket(&mut world, bob).not_before_ms >= first.before_ms);
    }

    #[test]
    fn who_joins_is_told_for_as_long_as_such_a_ticket_lasts() {
        let mut world = World::new();
        let bob = world.join(2, "bob");
        let (writes, _) = revoke(&world.state, [bob], None, world.now);
        world.apply(writes);
        let (_, effects) = world.join_from(1, &hello("alice"), "192.0.2.1:1").unwrap();
        assert!(matches!(told(&effects).as_slice(), [(Some(_), Revocation { holder, .. })] if *holder == bob));
        world.pass(TICKET_LIFE + Duration::from_millis(CLOCK_TOLERANCE_MS + 1));
        assert_eq!(forget(&world.state, world.now).count(), 0);
        world.pass(Duration::from_millis(1));
        assert_eq!(recent(&world.state, bob, world.now), []);
        let past = forget(&world.state, world.now).collect();
        world.apply(past);
        assert_eq!(world.state.revocations().iter().count(), 0);
    }

    #[test]
    fn who_was_given_no_ticket_loses_none() {
        let mut world = World::new();
        let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
        world.pass(LONGEST_USE * 2);
        world.register_for(alice, "x", file(1), &["bob", "carol"]);
        ticket(&mut world, bob);
        let audience = Audience::Entry("alice/x".parse().unwrap());
        let (writes, effects) = revoke(&world.state, [bob, carol], Some(&audience), world.now);
        assert_eq!((writes.len(), effects.len()), (1, 1));
        assert_eq!(told(&effects)[0].1.holder, bob);
        let (writes, effects) = revoke(&world.state, [bob, carol], None, world.now);
        assert_eq!((writes.len(), effects.len()), (2, 1), "all means all");
        let (writes, effects) = revoke(&world.state, [carol], Some(&audience), world.now);
        assert_eq!((writes, effects), (vec![], vec![]));
    }

    #[test]
    fn many_of_one_holder_become_one_of_all_its_tickets() {
        let mut world = World::new();
        let bob = world.join(2, "bob");
        for number in 0..3_000 {
            let audience = Audience::Offer(OfferId(number % 700));
            let (writes, _) = revoke(&world.state, [bob], Some(&audience), world.now);
            world.apply(writes);
            let named = world.state.revocations().before_ms(bob, Some(&audience));
            assert!(named.or_else(|| world.state.revocations().before_ms(bob, None)).is_some());
            assert!(world.state.revocations().of(bob).count() <= MAX_OF_HOLDER);
        }
    }
}
