//! `kill -9` at a random moment of an ingest: what was acknowledged is there, whole, and is found.

use crate::on_both_setups;
use crate::support::node::{AE, Node};
use crate::support::peer::{EXPLICIT, Peer};
use crate::support::setup::Setup;
use crate::support::synth::{self, CT, Place};
use crate::support::web::{Web, value};
use crate::support::{Dice, data_set, heavy, keep};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

on_both_setups! {
    /// Rounds of 2,000 instances over 4 associations, each ended by SIGKILL.
    acknowledged_instances_survive_a_kill = survive;
}

const INSTANCES: u32 = 2_000;
const ASSOCIATIONS: u32 = 4;

/// Readers that check a round side by side: the S3 server of the tests answers slowly, not heavily.
const READERS: usize = 16;

/// One round: a series of its own, sent until the node is killed.
struct Round {
    place: Place,
    acknowledged: BTreeSet<u32>,
}

fn survive(setup: &Setup) {
    let rounds: u32 =
        std::env::var("QIANLI_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let _turn = heavy();
    let start = Instant::now();
    let mut dice = Dice::from_env("QIANLI_KILL_SEED");
    let mut node = Node::start(setup);
    let mut done: Vec<Round> = Vec::new();
    let (mut acknowledged, mut lost) = (0, Vec::new());
    for number in 1..=rounds {
        let place = Place::new();
        let limit = 1 + dice.below(u64::from(INSTANCES) - 1) as u32;
        let delay = Duration::from_micros(dice.below(2_000));
        let begun = Instant::now();
        let received = send_until_killed(&mut node, &place, limit, delay);
        let sent = begun.elapsed();
        node.restart();
        let up = begun.elapsed();
        let round = Round { place, acknowledged: received };
        let (missing, extra) = verify(&node.web(), &round);
        println!(
            "round {number}: killed after {limit} and {delay:?}, {} acknowledged in {:.1} s, \
             up after {:.1} s, {extra} kept besides, {} lost, checked in {:.1} s",
            round.acknowledged.len(),
            sent.as_secs_f64(),
            (up - sent).as_secs_f64(),
            missing.len(),
            (begun.elapsed() - up).as_secs_f64(),
        );
        acknowledged += round.acknowledged.len();
        lost.extend(missing);
        done.push(round);
    }
    // Later kills must not have harmed what earlier rounds stored.
    for round in &done {
        let found = list(&node.web(), &round.place);
        lost.extend(round.acknowledged.difference(&found).map(|n| format!("{n}, in the end")));
    }
    let figures = format!(
        "{}: rounds {rounds}, acknowledged {acknowledged}, lost {}, {:.0} s\n",
        setup.name(),
        lost.len(),
        start.elapsed().as_secs_f64()
    );
    print!("{figures}");
    keep(&format!("kill-{}.txt", setup.name()), &figures);
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(acknowledged > rounds as usize, "too little was sent for the rounds to mean something");
}

/// Sends over all associations; kills the node once `limit` instances are acknowledged and `delay`
/// has passed. Returns the numbers of the acknowledged instances.
fn send_until_killed(node: &mut Node, place: &Place, limit: u32, delay: Duration) -> BTreeSet<u32> {
    let address = node.dimse();
    let counter = AtomicU32::new(0);
    let (enough, wait) = mpsc::channel();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..ASSOCIATIONS)
            .map(|lane| {
                let (counter, enough) = (&counter, enough.clone());
                scope.spawn(move || send_lane(address, place, lane, limit, counter, &enough))
            })
            .collect();
        drop(enough);
        // An error means that every sender ended early, which the assertions below will tell.
        let reached = wait.recv_timeout(Duration::from_secs(120)).is_ok();
        thread::sleep(delay);
        node.kill();
        let lanes = senders.into_iter().map(|sender| sender.join().expect("a sender"));
        let all = lanes.flatten().collect::<BTreeSet<_>>();
        assert!(reached, "only {} of {limit} instances were acknowledged in time", all.len());
        all
    })
}

fn send_lane(
    address: SocketAddr,
    place: &Place,
    lane: u32,
    limit: u32,
    counter: &AtomicU32,
    enough: &mpsc::Sender<()>,
) -> Vec<u32> {
    let mut acknowledged = Vec::new();
    let mut peer = Peer::associate(address, AE, "SENDER", &[(CT, &[EXPLICIT])]).expect("associate");
    let context = peer.context(CT, EXPLICIT).expect("an accepted context");
    for number in (lane..INSTANCES).step_by(ASSOCIATIONS as usize) {
        let instance = numbered(place, number);
        match peer.store(context, CT, &instance.uid, &instance.data_set) {
            Ok(response) => {
                assert_eq!(response.status, 0, "{}", response.comment);
                acknowledged.push(number);
                if counter.fetch_add(1, Ordering::SeqCst) + 1 == limit {
                    let _ = enough.send(());
                }
            }
            // The node is gone.
            Err(_) => break,
        }
    }
    acknowledged
}

/// 24 to 96 KiB, depending on the number.
fn numbered(place: &Place, number: u32) -> synth::Instance {
    synth::ct(place, number, 96 + 96 * (number % 4) as u16)
}

/// Returns the acknowledged instances that are not found or not whole, and how many instances are
/// there that were not acknowledged (allowed, but they must be whole too).
fn verify(web: &Web, round: &Round) -> (Vec<String>, usize) {
    let found = list(web, &round.place);
    let mut lost: Vec<String> = round
        .acknowledged
        .difference(&found)
        .map(|number| format!("{}.{number} is not found", round.place.series))
        .collect();
    let numbers: Vec<_> = found.iter().copied().collect();
    thread::scope(|scope| {
        let checks: Vec<_> = numbers
            .chunks(numbers.len().div_ceil(READERS).max(1))
            .map(|chunk| {
                scope.spawn(|| chunk.iter().filter_map(|n| damage(web, round, *n)).collect())
            })
            .collect();
        for check in checks {
            let damaged: Vec<String> = check.join().expect("a check");
            lost.extend(damaged);
        }
    });
    (lost, found.difference(&round.acknowledged).count())
}

fn damage(web: &Web, round: &Round, number: u32) -> Option<String> {
    let sent = numbered(&round.place, number);
    let answer = web.dicom(&sent.path()).accept("application/dicom; transfer-syntax=*").send();
    let whole =
        data_set::split_part10(&answer.body).is_some_and(|(_, data_set)| data_set == sent.data_set);
    (!whole).then(|| format!("{} is not whole (HTTP {})", sent.uid, answer.status))
}

/// The numbers of the instances that QIDO-RS lists in the series, page by page.
fn list(web: &Web, place: &Place) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    loop {
        let Place { study, series } = place;
        let page = format!("limit=1000&offset={}", numbers.len());
        let path = format!("/studies/{study}/series/{series}/instances?{page}");
        let rows = web.json(&path);
        let before = numbers.len();
        for row in &rows {
            let uid = value(row, "00080018");
            let number = uid.rsplit('.').next().and_then(|n| n.parse().ok());
            numbers.insert(number.expect("a number at the end of the UID"));
        }
        if rows.is_empty() || numbers.len() == before {
            return numbers;
        }
    }
}
