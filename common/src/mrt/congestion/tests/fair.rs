//! How bottlenecks are shared.

use super::link::{Flow, Link, Run, Simulation, mbit};
use super::{millis, seconds};

/// Runs two flows for 85 s, of which the first 25 do not count.
fn share(link: Link, flows: [Flow; 2]) -> Run {
    let run = Simulation::new(link, &flows, 7).run(seconds(25), seconds(85));
    println!("{link:?}: {run}");
    run
}

fn links() -> impl Iterator<Item = Link> {
    [20, 200].into_iter().flat_map(|mbit| [5, 50, 200].map(|rtt| Link::new(mbit, rtt)))
}

#[test]
fn two_share_alike() {
    for link in links() {
        let run = share(link, [Flow::model(), Flow::model()]);
        assert!((40.0..=60.0).contains(&run.share(0)), "{link:?}: {run}");
        assert!(run.utilisation() > 97.0, "{link:?}: {run}");
    }
}

#[test]
fn who_comes_late_gets_his_share() {
    for link in links() {
        let run = share(link, [Flow::model(), Flow::model().at(seconds(10))]);
        assert!((38.0..=62.0).contains(&run.share(0)), "{link:?}: {run}");
    }
}

#[test]
fn cubic_keeps_a_quarter_and_takes_no_more_than_three() {
    for link in links() {
        for flows in [[Flow::model(), Flow::tcp_cubic()], [Flow::model().at(seconds(5)), Flow::tcp_cubic()]] {
            let run = share(link, flows);
            assert!((24.0..=75.0).contains(&run.share(0)), "{link:?}: {run}");
            assert!(run.share(1) >= 25.0, "{link:?}: {run}");
        }
    }
}

/// A shortest round trip that was taken beside CUBIC's queue must not be confirmed by the queue that it leads to.
#[test]
fn cubic_keeps_its_share_whoever_comes_first() {
    for link in links().filter(|link| link.rate == mbit(20)) {
        for seed in 0..12 {
            let later = millis(6000 + 37 * seed);
            let cubic_first = [Flow::tcp_cubic(), Flow::model().at(later)];
            let cubic_second = [Flow::model(), Flow::tcp_cubic().at(later)];
            for (flows, cubic) in [(cubic_first, 0), (cubic_second, 1)] {
                let run = Simulation::new(link, &flows, seed).run(seconds(20), seconds(60));
                assert!(run.share(cubic) >= 40.0, "{link:?}, seed {seed}, CUBIC is {cubic}: {run}");
            }
        }
    }
}

#[test]
fn cubic_shares_with_itself_and_fills_a_clean_link() {
    for link in links().filter(|link| link.rtt < seconds(1) / 10) {
        let run = share(link, [Flow::tcp_cubic(), Flow::tcp_cubic()]);
        assert!((35.0..=65.0).contains(&run.share(0)), "{link:?}: {run}");
        assert!(run.utilisation() > 95.0, "{link:?}: {run}");
    }
}
