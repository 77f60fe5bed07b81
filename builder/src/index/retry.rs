//! When a request is repeated, and after how long: pure, the caller sleeps.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longest wait between two attempts that we choose ourselves.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(10);

/// Longest `Retry-After` that is obeyed; a server that asks for more is treated as down.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Counts the attempts of one request.
#[derive(Debug)]
pub(super) struct BackOff {
    first_delay: Duration,
    retries_max: u32,
    retries: u32,
    began: Instant,
}

impl BackOff {
    /// No attempt failed yet.
    pub(super) fn new(first_delay: Duration, retries_max: u32) -> Self {
        Self { first_delay, retries_max, retries: 0, began: Instant::now() }
    }

    /// Attempts made so far, the failed one included.
    pub(super) const fn attempts(&self) -> u32 {
        self.retries + 1
    }

    /// Attempts that are made at most.
    pub(super) const fn attempts_max(&self) -> u32 {
        self.retries_max + 1
    }

    /// When the request began, or last made progress.
    pub(super) const fn began(&self) -> Instant {
        self.began
    }

    /// Forgets the failures: there was progress since.
    pub(super) fn reset(&mut self) {
        self.retries = 0;
        self.began = Instant::now();
    }

    /// How long to wait before the next attempt, or `None` if there shall be none.
    ///
    /// `retry_after` is what the server asked for; `jitter` is in 0..1 and spreads clients that failed together.
    pub(super) fn next_delay(&mut self, retry_after: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.retries >= self.retries_max || retry_after.is_some_and(|asked| asked > RETRY_AFTER_MAX) {
            return None;
        }
        let doubled = self.first_delay.saturating_mul(1_u32.checked_shl(self.retries.min(20)).unwrap_or(u32::MAX));
        self.retries += 1;
        let own = doubled.min(RETRY_DELAY_MAX).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Some(retry_after.map_or(own, |asked| asked.max(own)))
    }
}

/// A number in 0..1 that differs between processes and calls; nothing secret depends on it.
pub(super) fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// The value of `Retry-After`: seconds, or an HTTP date compared with `now`; `None` if it is neither.
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let then = Duration::from_secs(parse_http_date(value)?);
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    Some(then.saturating_sub(now))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form of date that servers send.
fn parse_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, text) = text.split_once(", ")?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts.as_slice() else { return None };
    let day: u64 = day.parse().ok()?;
    let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
    let year: u64 = year.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let clock: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = clock.as_slice() else { return None };
    if !(1..=31).contains(&day) || *hours > 23 || *minutes > 59 || *seconds > 60 {
        return None;
    }
    // Days from the civil calendar, years counted from March (Howard Hinnant's algorithm).
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let year_of_era = shifted_year % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (shifted_year / 400 * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(days * 86_400 + hours * 3_600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_and_end() {
        let mut back_off = BackOff::new(Duration::from_millis(100), 3);
        let delays: Vec<_> = std::iter::from_fn(|| back_off.next_delay(None, 1.0)).collect();
        assert_eq!(delays, [100, 200, 400].map(Duration::from_millis));
        assert_eq!(back_off.attempts(), 4);
        back_off.reset();
        assert_eq!(back_off.next_delay(None, 0.0), Some(Duration::from_millis(50)));
        let mut long = BackOff::new(Duration::from_secs(1), 60);
        assert!(std::iter::from_fn(|| long.next_delay(None, 1.0)).all(|delay| delay <= RETRY_DELAY_MAX));
    }

    #[test]
    fn the_server_may_ask_for_more_but_not_for_too_much() {
        let mut back_off = BackOff::new(Duration::from_millis(100), 3);
        assert_eq!(back_off.next_delay(Some(Duration::from_secs(7)), 1.0), Some(Duration::from_secs(7)));
        assert_eq!(back_off.next_delay(Some(Duration::ZERO), 1.0), Some(Duration::from_millis(200)));
        assert_eq!(back_off.next_delay(Some(RETRY_AFTER_MAX * 2), 1.0), None);
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Thu, 01 Jan 1970 00:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(1_709_208_000));
        for bad in ["", "soon", "-1", "Sun, 06 Nov 1994", "Sun, 06 Foo 1994 08:49:37 GMT", "x, 1 Jan 1970 1:2 GMT"] {
            assert_eq!(parse_retry_after(bad, now), None, "{bad}");
        }
        assert!((0.0..=1.0).contains(&jitter()));
    }
}
