//! Building an old sdist once more, with the build requirements of its day.

use std::fmt;
use std::sync::Arc;

use super::Build;
use super::failure::BuildFailure;
use super::too_new::{TooNew, too_new};
use crate::event::Event;
use crate::realize::engine::Obtained;
use crate::realize::error::ObtainError;

/// A day, `2021-10-31`: only what was published before its end may be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AsOf(String);

impl AsOf {
    /// The day of a time as indexes write it (RFC 3339): `2019-03-04T05:06:07.89Z`.
    fn of_upload(time: &str) -> Option<Self> {
        let day = time.get(..10)?;
        let is_day = day.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
        let is_followed_by_time = time.as_bytes().get(10).is_none_or(|byte| matches!(byte, b'T' | b't' | b' '));
        (is_day && is_followed_by_time).then(|| Self(day.to_owned()))
    }

    /// The first day on which build tools can be expected to know Python `major.minor`: each October has one since 3.8.
    fn of_python(version: (u8, u8)) -> Option<Self> {
        match version {
            (3, 6) => Some(Self("2016-12-31".to_owned())),
            (3, 7) => Some(Self("2018-06-30".to_owned())),
            (3, minor @ 8..=99) => Some(Self(format!("{}-10-31", 2011 + u32::from(minor)))),
            _ => None,
        }
    }

    /// As the resolver takes it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AsOf {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Build<'_> {
    /// What becomes of a build that failed with the requirements of today: if its log says that they are too new for it,
    /// it is tried with those of the day on which the sdist was uploaded, or on which this Python was new.
    pub(super) async fn with_older_requirements(&self, failure: Arc<BuildFailure>) -> Result<Obtained, ObtainError> {
        let session = &self.engine.session;
        let is_free = !session.options.offline && self.engine.build_lock(self.pin).is_none();
        let reason = too_new(failure.tail.iter().map(String::as_str)).filter(|_| is_free);
        let Some(reason) = reason else { return Err(ObtainError::Build(failure)) };
        let Some(day) = self.day(reason).await? else { return Err(ObtainError::Build(failure)) };
        match self.attempt(Some(&day)).await {
            // No solution on that day says less than the log of the build.
            Err(error @ ObtainError::Resolve { .. }) => {
                tracing::info!(%error, "no older build requirements");
                let text = format!("{}: there are no build requirements of {day} that fit each other", self.pin);
                session.report(Event::Warning(text));
                Err(ObtainError::Build(failure))
            }
            result => result,
        }
    }

    /// The day whose build requirements are tried; says so, or why there is none.
    async fn day(&self, reason: TooNew) -> Result<Option<AsOf>, ObtainError> {
        let published = match self.engine.published_file(self.pin, self.selection).await {
            Err(error) if error.is_cancelled() => return Err(error),
            // What an index fails to say is no reason to hide why the build failed.
            published => published.ok(),
        };
        let uploaded = published.and_then(|file| AsOf::of_upload(file.upload_time.as_deref()?));
        let version = self.engine.session.python.interpreter.version;
        let (day, text) = match (uploaded, AsOf::of_python((version.major, version.minor))) {
            (None, _) => {
                (None, "the index does not say when it was uploaded, so none of that time can be tried".to_owned())
            }
            (Some(uploaded), Some(floor)) if uploaded < floor => {
                let text =
                    format!("trying those of {floor}, when this Python was new (the sdist was uploaded on {uploaded})");
                (Some(floor), text)
            }
            (Some(uploaded), _) => {
                let text = format!("trying those of {uploaded}, when the sdist was uploaded");
                (Some(uploaded), text)
            }
        };
        let text = format!("{} does not build with the newest build requirements: {reason}; {text}", self.pin);
        self.engine.session.report(Event::Warning(text));
        Ok(day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_an_upload() {
        for (time, day) in [
            ("2019-03-04T05:06:07.891234Z", Some("2019-03-04")),
            ("2019-03-04", Some("2019-03-04")),
            ("2019-03-04 05:06", Some("2019-03-04")),
            ("2019-3-4T05:06:07Z", None),
            ("2019-03-04x", None),
            ("yesterday", None),
            ("20é9-03-04", None),
            ("", None),
        ] {
            assert_eq!(AsOf::of_upload(time).as_ref().map(AsOf::as_str), day, "{time}");
        }
        assert_eq!(AsOf::of_python((3, 12)).as_ref().map(AsOf::as_str), Some("2023-10-31"));
        assert_eq!(AsOf::of_python((2, 7)), None);
        assert_eq!(AsOf::of_python((3, 7)).as_ref().map(AsOf::as_str), Some("2018-06-30"));
        assert!(AsOf::of_upload("2023-11-01").expect("a day") > AsOf::of_python((3, 12)).expect("a day"));
    }
}
