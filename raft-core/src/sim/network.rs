//! The network: it loses, doubles, delays and reorders, and is cut, both ways or one way.

use smallvec::SmallVec;

use super::coverage::{Coverage, Happening};
use super::entropy::{Entropy, Odds};
use super::queue::{TICK, Time};

/// The most servers a cluster has here.
pub(crate) const SERVERS_MAX: usize = 8;

/// How the network treats messages that are not cut off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: Odds,
    pub(crate) duplicate: Odds,
    /// A message that takes the slow way comes long after those sent later.
    pub(crate) slow: Odds,
    /// How much later it comes; the second is never reached.
    pub(crate) slow_moments: (Time, Time),
    pub(crate) delay: (u64, u64),
    /// Whether messages between two servers come in the order in which they were sent, as far as they come.
    pub(crate) in_order: bool,
    /// How often the sender hears of a loss.
    pub(crate) noticed: Odds,
    /// How many bytes a link carries in a tick, one message after the other; 0 if it carries everything at once.
    pub(crate) bytes_per_tick: u64,
    /// A message that would have to wait longer for its link is lost.
    pub(crate) longest_wait: Time,
}

impl Weather {
    /// No faults, and delays well below a tick.
    pub(crate) const FAIR: Weather = Weather {
        loss: Odds::NEVER,
        duplicate: Odds::NEVER,
        slow: Odds::NEVER,
        slow_moments: (0, 0),
        delay: (0, TICK / 8),
        in_order: true,
        noticed: Odds::NEVER,
        bytes_per_tick: 0,
        longest_wait: 0,
    };

    /// Delays up to `longest`; the slow way takes up to many a timeout.
    pub(crate) fn draw(entropy: &mut Entropy, longest: Time, timeout: Time) -> Weather {
        let shortest = entropy.below(TICK / 4);
        let spread = entropy.magnitude(1, longest);
        Weather {
            loss: entropy.odds_up_to(Odds::percent(30)),
            duplicate: entropy.odds_up_to(Odds::percent(20)),
            slow: entropy.odds_up_to(Odds::percent(10)),
            slow_moments: (0, entropy.magnitude(TICK, 20 * timeout)),
            delay: (shortest, shortest + spread),
            in_order: entropy.flip(),
            noticed: entropy.odds_up_to(Odds::percent(100)),
            bytes_per_tick: if entropy.below(4) == 3 { entropy.magnitude(16, 1 << 13) } else { 0 },
            longest_wait: entropy.magnitude(TICK, 10 * timeout),
        }
    }
}

/// When the first byte of a message arrives, and when all of it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) begins: Time,
    pub(crate) at: Time,
}

/// What becomes of a message: when each of its copies arrives, or nothing.
pub(crate) type Arrivals = SmallVec<[Arrival; 2]>;

/// A message to be sent: between whom, whether it is a reply, and how large it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel {
    pub(crate) ends: (usize, usize),
    pub(crate) reply: bool,
    pub(crate) bytes: u64,
}

/// For each sender, a bit for each receiver.
pub(crate) type Links = [u8; SERVERS_MAX];

pub(crate) struct Network {
    pub(crate) weather: Weather,
    /// How replies are treated, if not as everything else.
    pub(crate) reply_weather: Option<Weather>,
    /// For each sender, a bit for each receiver that it cannot reach.
    cut: Links,
    /// What of that is cut until it is mended.
    cut_for_good: Links,
    /// The number of those that come and go, and which they are.
    flapping: Option<(u32, Links)>,
    flaps: u32,
    newest_arrival: [[Time; SERVERS_MAX]; SERVERS_MAX],
    /// Until when each link carries what was sent before.
    busy_until: [[Time; SERVERS_MAX]; SERVERS_MAX],
}

impl Network {
    pub(crate) fn new(weather: Weather) -> Network {
        let none = [0; SERVERS_MAX];
        Network {
            weather,
            reply_weather: None,
            cut: none,
            cut_for_good: none,
            flapping: None,
            flaps: 0,
            newest_arrival: [[0; SERVERS_MAX]; SERVERS_MAX],
            busy_until: [[0; SERVERS_MAX]; SERVERS_MAX],
        }
    }

    /// Whether anything gets from one server to the other now.
    pub(crate) fn connects(&self, from: usize, to: usize) -> bool {
        self.cut[from] & (1 << to) == 0
    }

    /// From now on nothing gets from `from` to `to`.
    pub(crate) fn cut(&mut self, from: usize, to: usize) {
        self.cut[from] |= 1 << to;
        self.cut_for_good[from] |= 1 << to;
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut != [0; SERVERS_MAX] || self.flapping.is_some()
    }

    /// From now on everything connects again.
    pub(crate) fn mend(&mut self) {
        self.cut = [0; SERVERS_MAX];
        self.cut_for_good = self.cut;
        self.flapping = None;
    }

    /// From now on these links come and go, in place of those that did. Numbers them.
    pub(crate) fn start_flapping(&mut self, links: Links) -> u32 {
        self.flaps += 1;
        self.cut = self.cut_for_good;
        self.flapping = Some((self.flaps, links));
        self.flaps
    }

    /// The flapping links are cut if they were not, and come back if they were; for good, unless this goes `on`. Says
    /// whether they flap any more.
    pub(crate) fn flap(&mut self, number: u32, on: bool) -> bool {
        let Some((_, links)) = self.flapping.filter(|(newest, _)| *newest == number) else { return false };
        let whole = self.cut == self.cut_for_good;
        self.cut = self.cut_for_good;
        if !on {
            self.flapping = None;
        } else if whole {
            self.cut.iter_mut().zip(links).for_each(|(cut, links)| *cut |= links);
        }
        on
    }

    pub(crate) fn route(
        &mut self,
        entropy: &mut Entropy,
        coverage: &mut Coverage,
        parcel: Parcel,
        now: Time,
    ) -> Arrivals {
        let Parcel { ends: (from, to), reply, bytes } = parcel;
        let weather = self.reply_weather.filter(|_| reply).unwrap_or(self.weather);
        let mut arrivals = Arrivals::new();
        if !self.connects(from, to) {
            coverage.count(Happening::MessageCutOff);
            return arrivals;
        }
        if entropy.chance(weather.loss) {
            coverage.count(Happening::MessageLost);
            return arrivals;
        }
        // A link with a bandwidth carries one message after the other.
        let begins = now.max(self.busy_until[from][to]);
        if weather.bytes_per_tick > 0 && begins - now > weather.longest_wait {
            coverage.count(Happening::LinkOverflowed);
            return arrivals;
        }
        let carried = (bytes * TICK).checked_div(weather.bytes_per_tick).unwrap_or(0);
        self.busy_until[from][to] = begins + carried;
        let mut add = |network: &mut Network, entropy: &mut Entropy, coverage: &mut Coverage| {
            let at = network.arrival(entropy, coverage, &weather, (from, to), begins + carried);
            arrivals.push(Arrival { begins: at - carried, at });
        };
        add(self, entropy, coverage);
        if entropy.chance(weather.duplicate) {
            coverage.count(Happening::MessageDoubled);
            add(self, entropy, coverage);
        }
        arrivals
    }

    fn arrival(
        &mut self,
        entropy: &mut Entropy,
        coverage: &mut Coverage,
        weather: &Weather,
        (from, to): (usize, usize),
        now: Time,
    ) -> Time {
        let (shortest, longest) = weather.delay;
        let at = now + entropy.between(shortest, longest);
        if entropy.chance(weather.slow) {
            coverage.count(Happening::MessageDelayed);
            let (least, most) = weather.slow_moments;
            return at + least + entropy.below(most - least);
        }
        let newest = &mut self.newest_arrival[from][to];
        if at < *newest {
            if weather.in_order || weather.bytes_per_tick > 0 {
                return *newest;
            }
            coverage.count(Happening::MessageOvertook);
        }
        *newest = at.max(*newest);
        at
    }
}
