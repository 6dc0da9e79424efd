//! Each way to choose, against what it promises.

use portcullis_config::HashOn;

use super::super::hash::hash;
use super::*;

struct Fake {
    weight: u32,
    name: u64,
    out: Cell<bool>,
    load: Load,
}

impl Candidate for Fake {
    fn weight(&self) -> u32 {
        self.weight
    }

    fn name(&self) -> u64 {
        self.name
    }

    fn load(&self) -> &Load {
        &self.load
    }
}

fn fakes(weights: &[u32]) -> Vec<Fake> {
    let fake = |(at, weight): (usize, &u32)| Fake {
        weight: *weight,
        name: hash(format!("10.0.0.{at}:80").as_bytes()),
        out: Cell::new(false),
        load: Load::default(),
    };
    weights.iter().enumerate().map(fake).collect()
}

fn usable(fake: &Fake) -> bool {
    !fake.out.get()
}

/// How often each is chosen by these.
fn shares(chooser: &Chooser, among: &[Fake], asks: impl Iterator<Item = Ask>) -> Vec<usize> {
    let mut shares = vec![0; among.len()];
    for ask in asks {
        shares[chooser.choose(among, &ask, usable).unwrap()] += 1;
    }
    shares
}

fn ways() -> [Balance; 4] {
    [
        Balance::RoundRobin,
        Balance::LeastRequest,
        Balance::P2c,
        Balance::Hash(HashOn::Identity),
    ]
}

fn keyed(key: u64) -> Ask {
    Ask {
        key: Some(hash(&key.to_be_bytes())),
        ..Ask::default()
    }
}

#[test]
fn where_nobody_is_usable_nobody_is_chosen() {
    for balance in ways() {
        let chooser = Chooser::new(&balance, 1);
        assert_eq!(chooser.choose(&fakes(&[]), &keyed(1), usable), None);
        let among = fakes(&[1, 2]);
        among.iter().for_each(|it| it.out.set(true));
        assert_eq!(chooser.choose(&among, &keyed(1), usable), None);
        let sticky = Ask {
            sticky: Some(among[0].name),
            ..Ask::default()
        };
        assert_eq!(chooser.choose(&among, &sticky, usable), None);
    }
}

#[test]
fn who_is_out_is_never_chosen_and_everybody_else_is() {
    for balance in ways() {
        let (chooser, among) = (Chooser::new(&balance, 7), fakes(&[1, 1, 3, 1, 1]));
        among[2].out.set(true);
        among[4].out.set(true);
        let shares = shares(&chooser, &among, (0..300).map(keyed));
        assert_eq!((shares[2], shares[4]), (0, 0), "{balance:?}");
        let least = *[shares[0], shares[1], shares[3]].iter().min().unwrap();
        assert!(least > 50, "{balance:?} {shares:?}");
    }
}

#[test]
fn turns_follow_the_weights_and_the_heavy_are_spread() {
    let (chooser, among) = (Chooser::new(&Balance::RoundRobin, 0), fakes(&[1, 1, 3]));
    let next = || chooser.choose(&among, &Ask::default(), usable).unwrap();
    let ten: Vec<_> = (0..10).map(|_| next()).collect();
    assert_eq!(ten, [2, 0, 2, 1, 2, 2, 0, 2, 1, 2]);
    let equal = fakes(&[5, 5, 5]);
    let next = || chooser.choose(&equal, &Ask::default(), usable).unwrap();
    let six: Vec<_> = (0..6).map(|_| next()).collect();
    assert_eq!(six, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_fewest_requests_for_the_weight_win_and_equals_take_turns() {
    let (chooser, among) = (Chooser::new(&Balance::LeastRequest, 0), fakes(&[1, 1, 2]));
    let next = || {
        let at = chooser.choose(&among, &Ask::default(), usable).unwrap();
        among[at].load.begin();
        at
    };
    (0..40).for_each(|_| {
        next();
    });
    let open: Vec<_> = among.iter().map(|it| it.load.open()).collect();
    assert_eq!(open, [10, 10, 20]);
    among[1].load.end();
    assert_eq!(next(), 1);
    let equal = fakes(&[1, 1, 1]);
    let asks = (0..30).map(|_| Ask::default());
    assert_eq!(shares(&chooser, &equal, asks), [10, 10, 10]);
}

#[test]
fn of_two_the_better_one_wins_so_that_the_worst_gets_nothing() {
    let (chooser, among) = (Chooser::new(&Balance::P2c, 3), fakes(&[1, 1, 1, 1]));
    let ms = Duration::from_millis;
    for (at, latency) in [1, 1, 1, 50].into_iter().enumerate() {
        among[at].load.answered(ms(latency), ms(1));
    }
    let now = Ask {
        now: ms(2),
        ..Ask::default()
    };
    let slow = shares(&chooser, &among, (0..3_000).map(|_| now));
    assert_eq!(slow[3], 0, "{slow:?}");
    assert!(slow[..3].iter().all(|share| (850..1_150).contains(share)));
    // As busy as it is slower.
    among[..3].iter().for_each(|it| {
        (0..60).for_each(|_| it.load.begin());
    });
    let busy = shares(&chooser, &among, (0..3_000).map(|_| now));
    assert!(busy[3] > 1_300, "{busy:?}");
}

#[test]
fn one_of_two_that_is_out_leaves_the_other() {
    let (chooser, among) = (Chooser::new(&Balance::P2c, 3), fakes(&[1, 1]));
    among[0].out.set(true);
    let asks = (0..20).map(|_| Ask::default());
    assert_eq!(shares(&chooser, &among, asks), [0, 20]);
}

#[test]
fn a_hash_keeps_to_the_weights() {
    let chooser = Chooser::new(&Balance::Hash(HashOn::Identity), 0);
    let among = fakes(&[1, 1, 2]);
    let shares = shares(&chooser, &among, (0..40_000).map(keyed));
    for (share, expected) in shares.iter().zip([10_000, 10_000, 20_000]) {
        assert!(share.abs_diff(expected) < 400, "{shares:?}");
    }
    assert_eq!(
        chooser.choose(&among, &Ask::default(), usable),
        Some(2),
        "without a key in turn"
    );
}

#[test]
fn an_endpoint_that_goes_moves_only_its_share_and_gets_it_back() {
    let chooser = Chooser::new(&Balance::Hash(HashOn::Identity), 0);
    let mut among = fakes(&[1; 10]);
    let placed = |among: &[Fake]| -> Vec<u64> {
        let name = |key| among[chooser.choose(among, &keyed(key), usable).unwrap()].name;
        (0..20_000).map(name).collect()
    };
    let before = placed(&among);
    // Out for a while.
    let gone = among[4].name;
    among[4].out.set(true);
    let without = placed(&among);
    let moved = before.iter().zip(&without).filter(|(a, b)| a != b);
    let moved: Vec<_> = moved.map(|(from, to)| (*from, *to)).collect();
    assert!(moved.iter().all(|(from, to)| *from == gone && *to != gone));
    assert!((1_800..2_200).contains(&moved.len()), "{}", moved.len());
    for heir in among.iter().filter(|it| it.name != gone) {
        let got = moved.iter().filter(|(_, to)| *to == heir.name).count();
        assert!((150..300).contains(&got), "{got} of {}", moved.len());
    }
    among[4].out.set(false);
    assert_eq!(placed(&among), before);
    // Gone from the list, and the others in another order.
    among.swap_remove(4);
    among.reverse();
    assert_eq!(placed(&among), without);
}

#[test]
fn a_cookie_goes_before_every_way_while_its_endpoint_is_usable() {
    for balance in ways() {
        let (chooser, among) = (Chooser::new(&balance, 9), fakes(&[1, 1, 1]));
        let sticky = (0..30).map(|key| Ask {
            sticky: Some(among[1].name),
            ..keyed(key)
        });
        assert_eq!(shares(&chooser, &among, sticky.clone()), [0, 30, 0]);
        among[1].out.set(true);
        assert_eq!(shares(&chooser, &among, sticky)[1], 0);
        let stranger = (0..30).map(|key| Ask {
            sticky: Some(12),
            ..keyed(key)
        });
        assert_eq!(shares(&chooser, &among, stranger).iter().sum::<usize>(), 30);
    }
}
