//! Hours of the day.

use std::{fmt, str::FromStr};

const HOUR: u16 = 60;
const DAY: u16 = 24 * HOUR;

/// Hours of every day, such as "22:00-06:00"; "" is any time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hours(Option<(u16, u16)>);

impl Hours {
    /// Whether a minute of the day is within them.
    pub fn contains(&self, minute: u16) -> bool {
        match self.0 {
            None => true,
            Some((from, to)) if from < to => (from..to).contains(&minute),
            Some((from, to)) => minute >= from || minute < to,
        }
    }
}

impl FromStr for Hours {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let (from, to) = text.split_once('-').ok_or(())?;
        let (from, to) = (minute(from).ok_or(())?, minute(to).ok_or(())?);
        // Nobody knows whether that is never or always.
        if from == to || from == DAY { Err(()) } else { Ok(Self(Some((from, to)))) }
    }
}

/// "00:00" to "24:00".
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (number(hour)?, number(minute)?);
    (minute < HOUR && hour <= 24).then_some(hour * HOUR + minute).filter(|minute| *minute <= DAY)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((from, to)) = self.0 else { return Ok(()) };
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / HOUR, from % HOUR, to / HOUR, to % HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_go_over_midnight() {
        let night: Hours = "22:00-06:30".parse().unwrap();
        assert_eq!(night.to_string(), "22:00-06:30");
        for (hour, minute, inside) in
            [(22, 0, true), (23, 59, true), (0, 0, true), (6, 29, true), (6, 30, false), (21, 59, false)]
        {
            assert_eq!(night.contains(hour * HOUR + minute), inside, "{hour}:{minute}");
        }
        let evening: Hours = "18:00-24:00".parse().unwrap();
        assert!(evening.contains(DAY - 1) && !evening.contains(0));
        assert!(Hours::default().contains(720));
        assert_eq!("".parse(), Ok(Hours::default()));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "x",
            "22:00",
            "22-6",
            "22:00-22:00",
            "24:00-06:00",
            "25:00-06:00",
            "10:60-11:00",
            "-1:00-2:00",
            "24:01-1:00",
            "+1:00-2:00",
        ] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }
}
