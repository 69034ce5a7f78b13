//! Sharing: files go from those who have them to those who want them, from several at once, and are served on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use harness::cluster::{Cluster, ClusterConfig};
use harness::content::Content;
use harness::peer::{download, holder_map};
use harness::scenario::{Crowd, MIB, Multi, run_crowd, run_multi, send_sizes};
use harness::wait::wait_until;

use crate::small;

const SOON: Duration = Duration::from_secs(10);

/// Three register the same file, a fourth downloads it from all three and is a seeder then.
fn three_seeders_serve_a_fourth(tracker: IpAddr) {
    let cluster = ClusterConfig::default().listen(tracker).start();
    let content = Content::random(1, 12 * MIB);
    let mut seeders: Vec<_> = ["ann", "ben", "cat"]
        .iter()
        .map(|name| {
            // Limited, so that none has sent it all before the others are asked.
            let seeder = cluster.peer(name).args(["--limit-up", "4MiB"]).serve();
            seeder.register(&cluster.file(&format!("{name}/film.bin"), content));
            seeder
        })
        .collect();

    let list = seeders[0].list();
    let [entry] = list.as_slice() else { panic!("not one entry: {list:?}") };
    assert_eq!((entry.name.as_str(), entry.seeders), ("film.bin", 3));
    assert_eq!(entry.owners, ["ann", "ben", "cat"]);
    let (_, holders) = seeders[0].loc("film.bin").unwrap();
    assert_eq!(holders.len(), 3);
    for holder in &holders {
        let map = holder_map(holder, &entry.content).expect("its chunks are told");
        assert_eq!(map.runs(), [(0, entry.content.chunks() - 1)], "{holder:?}");
    }

    let downloader = cluster.peer("dora").serve();
    let output = cluster.out("film.bin");
    let downloaded = downloader.download("film.bin", Some(&output)).unwrap();
    assert_eq!(downloaded.path, output);
    assert_eq!(content.compare(&output).unwrap(), Ok(()));
    let mut from: Vec<_> = downloaded.shares.iter().map(|share| share.user.as_str()).collect();
    from.sort_unstable();
    assert_eq!(from, ["ann", "ben", "cat"], "chunks came from all three: {:?}", downloaded.shares);
    for share in &downloaded.shares {
        assert!(share.chunks > 0, "{:?}", downloaded.shares);
        assert_eq!(share.address.is_ipv6(), tracker.is_ipv6(), "{share:?}");
    }
    wait_until(SOON, "the downloader to be in loc", || {
        seeders[0].complete_holders("film.bin") == ["ann", "ben", "cat", "dora"]
    });

    for seeder in &mut seeders {
        seeder.kill();
    }
    let output = cluster.out("again.bin");
    let downloaded = cluster.peer("emil").serve().download("film.bin", Some(&output)).unwrap();
    assert_eq!(content.compare(&output).unwrap(), Ok(()));
    assert_eq!(downloaded.shares.len(), 1, "only dora is left: {:?}", downloaded.shares);
    assert_eq!(downloaded.shares[0].user, "dora");
}

#[test]
fn three_seeders_of_one_file_serve_a_fourth_that_serves_it_on() {
    three_seeders_serve_a_fourth(Ipv4Addr::LOCALHOST.into());
}

#[test]
fn three_seeders_of_one_file_serve_a_fourth_over_ipv6() {
    three_seeders_serve_a_fourth(Ipv6Addr::LOCALHOST.into());
}

#[test]
fn all_sizes_around_the_edges_of_blocks_and_chunks_go_through() {
    send_sizes(&[0, 1, 16383, 16384, 16385, 107_330, 16 * MIB + 1]);
}

#[test]
fn a_gibibyte_goes_through_in_little_memory() {
    send_sizes(&[1024 * MIB]);
}

#[test]
fn a_sparse_file_goes_through_in_little_memory() {
    small("sparse");
}

#[test]
fn downloaders_of_one_file_bring_it_to_each_other() {
    let crowd = Crowd { size: 16 * MIB, downloaders: 8, rate: 4 * MIB };
    let result = run_crowd(crowd);
    assert!(result.from_others.iter().all(|part| *part > 0.0), "each took part of it from others: {result:?}");
    // Alone the seeder would need eight times as long as the bound; a busy machine must not need half of that.
    assert!(result.times_bound() < 4.0, "{result:?}");
    assert!(result.from_seeder < 4 * crowd.size, "{result:?}");
}

#[test]
fn limits_of_seeders_add_up_and_are_kept() {
    let result = run_multi(Multi { size: 24 * MIB, seeders: 3, rate: 2 * MIB });
    assert!(result.of_sum > 0.9, "{result:?}");
    assert!(result.of_limits.iter().all(|part| *part < 1.05), "{result:?}");
}

#[test]
fn a_limit_down_is_kept() {
    let cluster = ClusterConfig::default().alone().start();
    let content = Content::random(2, 8 * MIB);
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("film.bin", content));
    let downloader = cluster.peer("ben").args(["--limit-down", "4MiB"]).serve();
    let downloaded = downloader.download("film.bin", None).unwrap();
    let seconds = downloaded.elapsed_ms as f64 / 1000.0;
    assert!((1.9..3.0).contains(&seconds), "8 MiB at 4 MiB/s in {seconds} s");
}

#[test]
fn many_downloads_run_at_once() {
    const FILES: u64 = 12;
    let cluster = Cluster::start();
    let contents: Vec<_> = (0..FILES).map(|seed| (format!("{seed}.bin"), Content::random(seed, MIB * seed))).collect();
    let seeder = cluster.peer("ann").serve();
    for (name, content) in &contents {
        seeder.register(&cluster.file(name, *content));
    }
    let downloader = cluster.peer("ben").serve();
    let running: Vec<_> = contents.iter().map(|(name, _)| downloader.start(&download(name, None))).collect();
    for (running, (name, content)) in running.into_iter().zip(&contents) {
        let Ok(Ok(peer::command::Outcome::Downloaded(downloaded))) = running.finish() else { panic!("{name} failed") };
        assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()), "{name}");
        assert_eq!(downloaded.path, downloader.spec().dir_path().join("seeding").join(name));
    }
    assert_eq!(downloader.status().sharing.len(), contents.len());
}

#[test]
fn a_download_that_lies_there_already_moves_nothing() {
    let cluster = Cluster::start();
    let content = Content::random(3, MIB);
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("film.bin", content));
    let downloader = cluster.peer("ben").serve();
    let first = downloader.download("film.bin", None).unwrap();
    let second = downloader.download("film.bin", None).unwrap();
    assert!(!first.already && second.already, "{second:?}");
    assert_eq!((second.path, second.fetched_bytes), (first.path, 0));
}

#[test]
fn a_target_that_is_another_file_stays_as_it_is() {
    let cluster = Cluster::start();
    let content = Content::random(4, MIB);
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("film.bin", content));
    let other = Content::random(5, 1000);
    other.write(&cluster.out("film.bin")).unwrap();
    let downloader = cluster.peer("ben").serve();
    let downloaded = downloader.download("film.bin", Some(&cluster.out("film.bin"))).unwrap();
    assert_eq!(downloaded.path, cluster.out("film (1).bin"));
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert_eq!(other.compare(&cluster.out("film.bin")).unwrap(), Ok(()));
}

#[test]
fn what_is_deregistered_is_gone() {
    let cluster = Cluster::start();
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("film.bin", Content::random(6, MIB)));
    let other = cluster.peer("ben").serve();
    let refused = other.run(["dereg", "ann/film.bin"]);
    assert_ne!(refused.code(), Some(0), "another's entry: {}", refused.stdout);
    assert_eq!(other.list().len(), 1);
    seeder.run(["dereg", "film.bin"]).succeeded();
    assert_eq!(other.list(), []);
    assert_eq!(seeder.status().sharing, []);
    assert!(other.download("film.bin", None).is_err());
}

#[test]
fn search_finds_parts_of_names_owners_and_globs() {
    let cluster = Cluster::start();
    let seeder = cluster.peer("ann").serve();
    for name in ["Holiday.png", "holiday.txt", "work.txt"] {
        seeder.register(&cluster.file(name, Content::random(7, name.len() as u64)));
    }
    let find = |text: &str| {
        let ran = seeder.run(["search", text, "--json"]).succeeded();
        let peer::command::Outcome::Entries(entries) = ran.json() else { panic!("{}", ran.stdout) };
        entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    assert_eq!(find("HOLI"), ["Holiday.png", "holiday.txt"]);
    assert_eq!(find("*.txt"), ["holiday.txt", "work.txt"]);
    assert_eq!(find("ann"), ["Holiday.png", "holiday.txt", "work.txt"]);
    assert_eq!(find("nothing"), Vec::<String>::new());
}

#[test]
fn updates_arrive_by_themselves_and_move_little() {
    small("updates");
}

#[test]
fn folders_arrive_as_they_were_and_so_do_their_changes() {
    small("folders");
}
