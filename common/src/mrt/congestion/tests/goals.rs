//! What the controllers must reach.

use std::time::Duration;

use super::link::{Flow, Link, Simulation};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn table() {
    let one: Option<(u64, u64, u64)> = std::env::var("CELL").ok().map(|cell| {
        let mut parts = cell.split(',').map(|part| part.parse().unwrap());
        (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap())
    });
    println!("mbit rtt loss queue | util  lost-to-queue  standing(%BDP)  first-90%");
    for mbit in [20, 200] {
        for rtt in [5, 50, 200] {
            for loss in [0, 1, 2, 5, 15] {
                if one.is_some_and(|one| one != (mbit, rtt, loss)) {
                    continue;
                }
                for queue in ["1", "0.5", "100p", "25p"] {
                    if std::env::var("QUEUE").is_ok_and(|wanted| wanted != queue) {
                        continue;
                    }
                    let link = Link::new(mbit, rtt).loss_percent(loss);
                    let link = match queue {
                        "1" => link.queue_percent(100),
                        "0.5" => link.queue_percent(50),
                        "100p" => link.queue_packets(100),
                        _ => link.queue_packets(25),
                    };
                    let mut simulation = Simulation::new(link, &[Flow::model()], 7);
                    simulation.trace = std::env::var("TRACE").is_ok();
                    let run = simulation.run(seconds(5), seconds(30));
                    let full = link.rate as f64 * 0.9 * 0.1 * (1.0 - loss as f64 / 100.0) / 1452.0;
                    let first = run.flows[0].per_100ms.iter().position(|count| *count as f64 >= full);
                    println!(
                        "{mbit:4} {rtt:3} {loss:3}% {queue:>5} | {:6.2}  {:5.2}  {:5.1}  {:?}",
                        run.utilisation(),
                        run.lost_to_queue(0),
                        run.standing(),
                        first.map(|slot| slot as f64 / 10.0)
                    );
                }
            }
        }
    }
}

#[test]
fn fairness() {
    for mbit in [20, 200] {
        for rtt in [5, 50, 200] {
            for queue in [50, 100, 200] {
                let link = Link::new(mbit, rtt).queue_percent(queue);
                for (name, flows) in [
                    ("two", vec![Flow::model(), Flow::model()]),
                    ("late", vec![Flow::model(), Flow::model().at(seconds(10))]),
                    ("cubic", vec![Flow::model(), Flow::tcp_cubic()]),
                    ("cubic first", vec![Flow::tcp_cubic(), Flow::model().at(seconds(5))]),
                ] {
                    let mut simulation = Simulation::new(link, &flows, 7);
                    simulation.trace = std::env::var("TRACE").is_ok();
                    let run = simulation.run(seconds(20), seconds(60));
                    println!(
                        "{mbit:4} {rtt:3} {queue:3}% {name:11} | {:5.1} : {:5.1} lost {:5.2} {:5.2} standing {:5.1}",
                        run.share(0),
                        run.share(1),
                        run.lost_to_queue(0),
                        run.lost_to_queue(1),
                        run.standing()
                    );
                }
            }
        }
    }
}

#[test]
fn cold_start() {
    for (mbit, rtt) in [(20, 50), (200, 50), (200, 5), (200, 200)] {
        for loss in [0, 1, 5] {
            let link = Link::new(mbit, rtt).loss_percent(loss);
            for flow in [Flow::model(), Flow::tcp_cubic()] {
                let flow = flow.of(10 << 20);
                let mut simulation = Simulation::new(link, &[flow], 7);
                simulation.trace = std::env::var("TRACE").is_ok();
                let run = simulation.run(seconds(0), seconds(200));
                println!(
                    "{mbit} {rtt} {loss}% {:?} {:?} ideal {:.3} lost to queue {:.2}",
                    flow.kind,
                    run.flows[0].finished,
                    (10 << 20) as f64 / link.rate as f64 / (1.0 - loss as f64 / 100.0) + rtt as f64 / 1000.0,
                    run.lost_to_queue(0)
                );
            }
        }
    }
}
